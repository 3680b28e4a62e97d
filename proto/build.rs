//! Compiles the `.proto` files with protox: no `protoc` is needed on the machine.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 4] = [
    "mesos/v1/mesos.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/scheduler/scheduler.proto",
    "marmoset/v1/marmoset.proto",
];
const INCLUDES: [&str; 1] = ["proto"];
/// Ids are keys in ordered maps.
const IDS: [&str; 5] = ["FrameworkID", "AgentID", "ExecutorID", "TaskID", "OfferID"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut documented = protox::compile(FILES, INCLUDES)?;
    let commented = out.join("commented.bin");
    fs::write(&commented, documented.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config.skip_protoc_run().include_file("packages.rs").bytes(["."]).btree_map(["."]);
    for id in IDS {
        config.type_attribute(format!("mesos.v1.{id}"), "#[derive(PartialOrd, Ord)]");
    }
    prost_reflect_build::Builder::new()
        .file_descriptor_set_path(&commented)
        .descriptor_pool("crate::descriptors::POOL")
        .compile_protos_with_config(config, &FILES, &INCLUDES)?;

    for file in &mut documented.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), documented.encode_to_vec())?;
    Ok(())
}
