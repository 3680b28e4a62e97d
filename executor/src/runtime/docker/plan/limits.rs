//! Resources of a run as limits of its container.
//!
//! The numbers are those of Mesos' Docker containerizer (docker/docker.cpp, `RunOptions::create`).

use bollard::models::{DeviceRequest, HostConfig, ResourcesUlimits};
use marmoset_executor_core::{Bounds, Limit};
use marmoset_proto::{
    mesos::v1::{
        CapabilityInfo, LinuxInfo, RLimitInfo, capability_info::Capability, r_limit_info::r_limit,
    },
    resources::Millis,
};

use super::PlanError;

const CPU_SHARES_PER_CPU: u64 = 1024;
const CPU_SHARES_MIN: u64 = 2;
const CPU_PERIOD_MICROS: i64 = 100_000;
const CPU_QUOTA_MIN_MICROS: u64 = 1000;
const MIB: u64 = 1024 * 1024;
const MEMORY_MIN: u64 = 32 * MIB;

/// Sets the limits, and tells that of the memory in bytes. With `cfs`, cpus that were given are a
/// limit even if the task sets none.
pub(super) fn apply(bounds: &Bounds, cfs: bool, host: &mut HostConfig) -> Option<i64> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    if let Some(cpus) = bounds.cpus.filter(|cpus| cpus.0 > 0) {
        let shares = cpus.0.saturating_mul(CPU_SHARES_PER_CPU) / 1000;
        host.cpu_shares = Some(signed(shares.max(CPU_SHARES_MIN)));
    }
    let limit = match bounds.cpus_limit {
        Some(Limit::Finite(cpus)) => Some(cpus),
        Some(Limit::Infinite) => None,
        None => bounds.cpus.filter(|cpus| cfs && cpus.0 > 0),
    };
    if let Some(cpus) = limit {
        host.cpu_period = Some(CPU_PERIOD_MICROS);
        host.cpu_quota = Some(signed(cpus.0.saturating_mul(100).max(CPU_QUOTA_MIN_MICROS)));
    }
    let bytes = |mem: Millis| signed((mem.0.saturating_mul(MIB) / 1000).max(MEMORY_MIN));
    let requested = bounds.mem.filter(|mem| mem.0 > 0);
    if bounds.mem_limit.is_some() {
        host.memory_reservation = requested.map(bytes);
    }
    host.memory = match bounds.mem_limit {
        Some(Limit::Infinite) => None,
        Some(Limit::Finite(limit)) => Some(bytes(limit)),
        None => requested.map(bytes),
    };
    // Without swap a limit is a limit.
    host.memory_swap = host.memory;
    if let Some(gpus) = bounds.gpus.filter(|gpus| gpus.0 > 0) {
        host.device_requests = Some(vec![gpu_request(signed(gpus.0.div_ceil(1000)))]);
    }
    host.memory
}

/// What `docker run --gpus N` asks for.
pub(super) fn gpu_request(count: i64) -> DeviceRequest {
    DeviceRequest {
        count: Some(count),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

/// Sets `ContainerInfo.rlimit_info`.
pub(super) fn apply_rlimits(
    info: Option<&RLimitInfo>,
    host: &mut HostConfig,
) -> Result<(), PlanError> {
    for rlimit in info.iter().flat_map(|info| &info.rlimits) {
        let name = match rlimit.r#type() {
            r_limit::Type::Unknown => {
                return Err(PlanError("`rlimit_info` has a limit of an unknown type".to_owned()));
            }
            known => known.as_str_name().trim_start_matches("RLMT_").to_lowercase(),
        };
        let bound =
            |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(-1));
        host.ulimits.get_or_insert_default().push(ResourcesUlimits {
            name: Some(name),
            soft: Some(bound(rlimit.soft)),
            hard: Some(bound(rlimit.hard)),
        });
    }
    Ok(())
}

/// Sets what of `ContainerInfo.linux_info` Docker has an option for.
pub(super) fn apply_linux(
    info: Option<&LinuxInfo>,
    allow_privileged: bool,
    host: &mut HostConfig,
) -> Result<(), PlanError> {
    let Some(info) = info else { return Ok(()) };
    let effective = info.effective_capabilities.as_ref().or(info.capability_info.as_ref());
    if let Some(capabilities) = effective {
        if !allow_privileged {
            return Err(PlanError(
                "`linux_info` grants capabilities: the executor must be started with \
                 `--allow-privileged` for that"
                    .to_owned(),
            ));
        }
        host.cap_drop = Some(vec!["ALL".to_owned()]);
        host.cap_add = Some(names(capabilities)?);
    }
    if let Some(mebibytes) = info.shm_size {
        host.shm_size = Some(i64::from(mebibytes) * 1024 * 1024);
    }
    Ok(())
}

fn names(info: &CapabilityInfo) -> Result<Vec<String>, PlanError> {
    info.capabilities()
        .map(|capability| match capability {
            Capability::Unknown => {
                Err(PlanError("`linux_info` has a capability that is not known".to_owned()))
            }
            known => Ok(known.as_str_name().to_owned()),
        })
        .collect()
}
