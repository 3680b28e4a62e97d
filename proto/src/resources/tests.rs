use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::mesos::v1::{
    Label, Labels, Volume,
    resource::{
        AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo, disk_info,
        reservation_info::Type,
    },
    value,
};

fn set(text: &str) -> Resources {
    parse(text).unwrap()
}

fn refusal(resource: Resource) -> String {
    Resources::from_proto(&[resource]).unwrap_err().to_string()
}

fn volume(id: &str) -> Resource {
    let persistence = disk_info::Persistence { id: id.into(), principal: None };
    Resource {
        role: Some("r".into()),
        disk: Some(DiskInfo { persistence: Some(persistence), ..Default::default() }),
        ..Resource::scalar("disk", 10.0)
    }
}

#[test]
fn as_a_master_tells_it() {
    let mut left = set("ports:[8000-8100];cpus:8;mem:8192;disk:10000").allocated("*");
    left -= &set("cpus:0.1;mem:32").allocated("*");
    left -= &set("cpus:0.1;mem:16").allocated("*");
    let log = include_str!("../../testdata/json-errors/log.txt");
    let (_, rest) = log.split_once("more than available ").unwrap();
    let (recorded, _) = rest.split_once(" healthy=").unwrap();
    assert_eq!(left.to_string(), recorded);
    let task = set("cpus:1000;mem:16").allocated("*");
    assert!(log.contains(&format!("Total resources {task} required")));
    assert!(!left.contains(&task));
    assert_eq!(Resources::default().to_string(), "{}");
}

#[test]
fn fixed_point() {
    let mut sum = Resources::default();
    for _ in 0..10 {
        sum += &set("cpus:0.1");
    }
    assert_eq!(sum, set("cpus:1"));
    assert_eq!(sum.cpus(), Some(Millis(1000)));
    assert!(set("cpus:0.3").contains(&set("cpus:0.30000000000000004")));
    assert!(set("cpus:0.0004").is_empty());
    assert_eq!(set("cpus:0.0005").cpus(), Some(Millis(1)));
    sum -= &set("cpus:1");
    assert!(sum.is_empty());
    assert_eq!(sum.cpus(), None);
    assert_eq!(set("cpus:7.8;mem:0.125").to_string(), "cpus:7.8; mem:0.125");
}

#[test]
fn ports() {
    let mut free = set("ports:[8000-8100]");
    free -= &set("ports:[8003-8003]");
    assert_eq!(free.to_string(), "ports:[8000-8002, 8004-8100]");
    let mut free = set("ports:[8006-8100]");
    free += &set("ports:[8003-8003]");
    assert_eq!(free.to_string(), "ports:[8003-8003, 8006-8100]");
    let wire = free.to_proto();
    assert_eq!(wire, [Resource::ranges("ports", [(8003, 8003), (8006, 8100)])]);
    assert_eq!(Resources::from_proto(&wire).unwrap(), free);
    assert_eq!(free.ports().count(), 96);
}

#[test]
fn flag_syntax() {
    for (text, shown) in [
        ("cpus:8;mem:8192", "cpus:8; mem:8192"),
        (" cpus : 8 ; ports : [ 8000-8100 , 9000-9005 ] ;", "cpus:8; ports:[8000-8100, 9000-9005]"),
        ("ports:[1-2,3-4]", "ports:[1-4]"),
        ("cpus(web):2;cpus:1", "cpus(reservations: [(STATIC,web)]):2; cpus:1"),
        ("disks:{b,a}", "disks:{a, b}"),
        ("cpus:1;cpus:2", "cpus:3"),
        ("", "{}"),
        ("ports:[]", "{}"),
        (
            r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":2},"role":"web"},{"name":"mem","type":"SCALAR","scalar":{"value":1}}]"#,
            "cpus(reservations: [(STATIC,web)]):2; mem:1",
        ),
    ] {
        assert_eq!(set(text).to_string(), shown, "{text}");
    }
    assert_eq!(
        parse_for_role("cpus:1;mem(*):1", "web").unwrap().to_string(),
        "cpus(reservations: [(STATIC,web)]):1; mem:1"
    );
}

#[test]
fn flag_refusals() {
    for (text, error) in [
        ("cpus", "bad resource `cpus`: `:` expected, as in `cpus:8`"),
        ("cpus(a:1", "bad resource `cpus(a:1`: mismatched parentheses"),
        (
            "cpus:many",
            "bad resource `cpus:many`: `many` is neither a number, nor ranges as `[1-9]`, nor a set as `{a,b}`",
        ),
        ("ports:[1-2", "bad resource `ports:[1-2`: `]` expected at the end of the ranges"),
        ("ports:[7]", "bad resource `ports:[7]`: `7` is no range: write it as `8000-8100`"),
        ("ports:[9-7]", "Resource 'ports:[9-7]' is invalid: Invalid ranges resource: begin > end"),
        (
            "ports:[1-5,5-9]",
            "Resource 'ports:[1-5, 5-9]' is invalid: Invalid ranges resource: overlapping ranges",
        ),
        ("cpus:-1", "Resource 'cpus:-1' is invalid: Invalid scalar resource: value < 0"),
        (
            "cpus:nan",
            "Resource 'cpus:nan' is invalid: Invalid scalar resource: NaN is not supported",
        ),
        (
            "cpus:inf",
            "Resource 'cpus:inf' is invalid: Invalid scalar resource: infinite values are not supported",
        ),
        (
            "cpus:1e300",
            "Resource 'cpus:1e+300' is invalid: Invalid scalar resource: value is too large",
        ),
        (
            "gpus:1.5",
            "Resource 'gpus:1.5' is invalid: Invalid scalar resource: `gpus` must be a whole number",
        ),
        (":1", "Resource ':1' is invalid: Empty resource name"),
        (
            "cpus(a b):1",
            "Resource 'cpus:1' is invalid: Role component 'a b' is invalid because it contains backspace or whitespace",
        ),
        ("x:1;x:[1-2]", "Resources with the same name ('x') but different types are not allowed"),
        ("[1]", "resources are not a JSON array of Resource: Expecting a JSON object"),
        ("[{}]", "resources are not a JSON array of Resource: Missing required fields: name, type"),
        (
            r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}]"#,
            "Revocable resources cannot be specified at the command line; do not include a 'revocable' key in the resources JSON",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn wire_refusals() {
    let scalar = || Resource::scalar("cpus", 1.0);
    let wrapped = |reason: &str| format!("Resource 'cpus:1' is invalid: {reason}");
    assert_eq!(
        refusal(Resource { r#type: value::Type::Text.into(), ..scalar() }),
        "Resource 'cpus:' is invalid: Unsupported resource type"
    );
    assert_eq!(
        refusal(Resource { r#type: 99, ..scalar() }),
        "Resource 'cpus:' is invalid: Invalid resource type"
    );
    assert_eq!(
        refusal(Resource { ranges: Some(value::Ranges::default()), ..scalar() }),
        wrapped("Invalid scalar resource")
    );
    assert_eq!(
        refusal(Resource::set("x", ["a".to_string(), "a".to_string()])),
        "Resource 'x:{a, a}' is invalid: Invalid set resource: duplicated elements"
    );
    assert_eq!(
        refusal(Resource { reservation: Some(ReservationInfo::default()), ..scalar() }),
        wrapped("Invalid reservation: role \"*\" cannot be dynamically reserved")
    );
    assert_eq!(
        refusal(Resource { disk: Some(DiskInfo::default()), ..scalar() }),
        "Resource 'cpus[]:1' is invalid: DiskInfo should not be set for cpus resource"
    );
    assert_eq!(
        refusal(Resource { shared: Some(SharedInfo {}), ..scalar() }),
        "Resource 'cpus<SHARED>:1' is invalid: Resource cpus cannot be shared"
    );
    assert!(refusal(Resource::scalar("cpus", f64::MIN_POSITIVE / 2.0)).contains("subnormal"));
}

fn reserved(kind: Type, role: &str) -> ReservationInfo {
    ReservationInfo { r#type: Some(kind.into()), role: Some(role.into()), ..Default::default() }
}

#[test]
fn reservation_formats() {
    let labels = Labels { labels: vec![Label { key: "k".into(), value: Some("v".into()) }] };
    let older_dynamic =
        ReservationInfo { principal: Some("p".into()), labels: Some(labels), ..Default::default() };
    let newer_dynamic = ReservationInfo {
        r#type: Some(Type::Dynamic.into()),
        role: Some("r".into()),
        ..older_dynamic.clone()
    };
    let scalar = || Resource::scalar("cpus", 1.0);
    let cases = [
        (Resource { role: Some("*".into()), ..scalar() }, scalar(), "cpus:1"),
        (
            Resource { role: Some("r".into()), ..scalar() },
            Resource { reservations: vec![reserved(Type::Static, "r")], ..scalar() },
            "cpus(reservations: [(STATIC,r)]):1",
        ),
        (
            Resource { role: Some("r".into()), reservation: Some(older_dynamic), ..scalar() },
            Resource { reservations: vec![newer_dynamic], ..scalar() },
            "cpus(reservations: [(DYNAMIC,r,p,{k: v})]):1",
        ),
    ];
    for (older, newer, shown) in cases {
        let resources = Resources::from_proto(std::slice::from_ref(&older)).unwrap();
        assert_eq!(resources, Resources::from_proto(std::slice::from_ref(&newer)).unwrap());
        assert_eq!(resources.to_proto(), std::slice::from_ref(&newer));
        assert_eq!(resources.to_proto_in(Format::PreRefinement), std::slice::from_ref(&older));
        assert_eq!(resources.to_string(), shown);
        if !newer.reservations.is_empty() {
            // Both at once, as some masters write it.
            let both = Resource { reservations: newer.reservations, ..older };
            assert_eq!(Resources::from_proto(&[both]).unwrap(), resources);
        }
    }
    let refined = Resource {
        reservations: vec![reserved(Type::Static, "a"), reserved(Type::Dynamic, "a/b")],
        ..scalar()
    };
    let resources = Resources::from_proto(&[refined]).unwrap();
    assert_eq!(resources.to_string(), "cpus(reservations: [(STATIC,a),(DYNAMIC,a/b)]):1");
    assert_eq!(resources.to_proto_in(Format::PreRefinement), []);
    assert_eq!(resources.iter().next().unwrap().reserved_for(), Some("a/b"));
}

#[test]
fn reservation_refusals() {
    let with = |reservations: Vec<ReservationInfo>| Resource {
        reservations,
        ..Resource::scalar("cpus", 1.0)
    };
    for (resource, reason) in [
        (
            with(vec![ReservationInfo::default()]),
            "'Resource.ReservationInfo.type' field must be set.",
        ),
        (with(vec![reserved(Type::Static, "*")]), "role \"*\" cannot be reserved"),
        (with(vec![reserved(Type::Static, "")]), "Empty role name is invalid"),
        (
            with(vec![reserved(Type::Static, "a"), reserved(Type::Static, "a/b")]),
            "cannot be STATIC",
        ),
        (
            with(vec![reserved(Type::Static, "a"), reserved(Type::Dynamic, "ab")]),
            "role 'ab' is not a refinement of 'a'",
        ),
        (
            with(vec![reserved(Type::Static, "a"), reserved(Type::Dynamic, "a")]),
            "role 'a' is not a refinement of 'a'",
        ),
        (
            Resource { role: Some("b".into()), ..with(vec![reserved(Type::Static, "a")]) },
            "'Resource.role' field with 'b' does not match the role 'a'",
        ),
        (
            Resource {
                reservation: Some(ReservationInfo::default()),
                ..with(vec![reserved(Type::Static, "a")])
            },
            "'Resource.reservation' does not match",
        ),
        (
            Resource {
                role: Some("r".into()),
                reservation: Some(reserved(Type::Static, "r")),
                ..with(vec![])
            },
            "'Resource.ReservationInfo.type' must not be set",
        ),
    ] {
        let error = refusal(resource);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn terms_keep_apart() {
    let plain = || Resource::scalar("cpus", 1.0);
    let variants = [
        plain(),
        Resource { role: Some("r".into()), ..plain() },
        Resource { allocation_info: Some(AllocationInfo { role: Some("r".into()) }), ..plain() },
        Resource { revocable: Some(RevocableInfo {}), ..plain() },
        Resource {
            provider_id: Some(crate::mesos::v1::ResourceProviderId { value: "p".into() }),
            ..plain()
        },
        Resource::scalar("mem", 1.0),
        Resource::ranges("cpus", [(1, 1)]),
    ];
    for (index, left) in variants.iter().enumerate() {
        for (other, right) in variants.iter().enumerate() {
            let left = Resources::from_proto(std::slice::from_ref(left)).unwrap();
            let right = Resources::from_proto(std::slice::from_ref(right)).unwrap();
            assert_eq!(left.contains(&right), index == other);
            assert_eq!(left == right, index == other);
            assert_eq!((&left - &right).is_empty(), index == other);
        }
    }
    let all = Resources::from_proto(&variants).unwrap();
    assert_eq!(all.iter().count(), variants.len());
    assert_eq!(all.cpus(), Some(Millis(5000)));
    assert_eq!(all.reserved().keys().collect::<Vec<_>>(), ["r"]);
    assert_eq!(all.allocatable_to("x").iter().count(), variants.len() - 1);
    assert_eq!(all.names(), ["cpus", "mem"]);
}

#[test]
fn allocation_comes_and_goes() {
    let mut resources = set("cpus:1;cpus(r):2;ports:[1-2]");
    resources.allocate("r");
    assert_eq!(
        resources.to_string(),
        "cpus(allocated: r):1; cpus(allocated: r)(reservations: [(STATIC,r)]):2; ports(allocated: r):[1-2]"
    );
    resources += &set("cpus:1");
    resources.unallocate();
    assert_eq!(resources, set("cpus:2;cpus(r):2;ports:[1-2]"));
}

#[test]
fn volumes_are_whole() {
    let one = Resources::from_proto(&[volume("a")]).unwrap();
    assert_eq!(one.to_string(), "disk(reservations: [(STATIC,r)])[a]:10");
    let part = Resource { scalar: Some(value::Scalar { value: 5.0 }), ..volume("a") };
    let part = Resources::from_proto(&[part]).unwrap();
    assert!(!one.contains(&part));
    assert_eq!(&one - &part, one);
    let two = Resources::from_proto(&[volume("a"), volume("b")]).unwrap();
    assert_eq!(two.iter().count(), 2);
    assert_eq!((&two - &one).iter().count(), 1);
    // How a task mounts it does not matter.
    let mut mounted = volume("a");
    mounted.disk.as_mut().unwrap().volume =
        Some(Volume { container_path: "x".into(), ..Default::default() });
    let mounted = Resources::from_proto(&[mounted]).unwrap();
    assert!(two.contains(&mounted));
    assert_eq!(mounted.to_string(), "disk(reservations: [(STATIC,r)])[a:x:rw]:10");
}

#[test]
fn shared_volumes_are_counted() {
    let shared = Resource { shared: Some(SharedInfo {}), ..volume("a") };
    let once = Resources::from_proto(std::slice::from_ref(&shared)).unwrap();
    let twice = &once + &once;
    assert_eq!(twice.iter().count(), 1);
    assert!(twice.contains(&once) && !once.contains(&twice) && once != twice);
    assert_eq!(twice.to_proto(), Resources::from_proto(&twice.to_proto()).unwrap().to_proto());
    assert_eq!(twice.to_string(), "disk(reservations: [(STATIC,r)])[a]<SHARED>:10<2>");
    assert_eq!(&twice - &once, once);
    assert!((&once - &twice).is_empty());
}

#[test]
fn a_need_is_spread_over_entries() {
    let mut offer =
        set("cpus:2;cpus(r):1;mem:100;ports:[8000-8001];ports(r):[9000-9000]").allocated("r");
    let before = offer.clone();
    let need = Need { cpus: Millis(1500), mem: Millis(100_000), ports: 2, ..Default::default() };
    assert_eq!(offer.count_of(&need), 1);
    let taken = offer.take(&need).unwrap();
    let expected =
        set("cpus(r):1;cpus:0.5;mem:100;ports(r):[9000-9000];ports:[8000-8000]").allocated("r");
    assert_eq!(taken, expected);
    assert_eq!(offer, set("cpus:1.5;ports:[8001-8001]").allocated("r"));
    assert_eq!(offer.take(&need), None);
    assert_eq!(offer.count_of(&need), 0);
    offer += &taken;
    assert_eq!(offer, before);

    let exact = set("cpus:1.5;ports:[8001-8001,9000-9000]");
    let taken = offer.take_amounts(&exact).unwrap();
    assert_eq!(
        taken,
        set("cpus(r):1;cpus:0.5;ports(r):[9000-9000];ports:[8001-8001]").allocated("r")
    );
    assert_eq!(offer.take_amounts(&exact), None);
    assert_eq!(&offer + &taken, before);
}

#[test]
fn a_need_leaves_special_resources_alone() {
    let revocable = Resource { revocable: Some(RevocableInfo {}), ..Resource::scalar("cpus", 8.0) };
    let mut offer = Resources::from_proto(&[revocable, volume("a")]).unwrap();
    assert_eq!(offer.take(&Need { cpus: Millis(1), ..Default::default() }), None);
    assert_eq!(offer.take(&Need { disk: Millis(1), ..Default::default() }), None);
    assert_eq!(offer.take(&Need::default()), Some(Resources::default()));
    assert_eq!(offer.count_of(&Need::default()), u64::MAX);
    let need = Need { cpus: Millis(100), ports: 1, ..Default::default() };
    assert_eq!(set("cpus:8;ports:[1-30]").count_of(&need), 30);
    assert_eq!(set("cpus:8;ports:[1-300]").count_of(&need), 80);
    assert_eq!(need.times(3).ports, 3);
}

/// Amounts by what keeps them apart; ports one by one.
type Model = BTreeMap<(String, Option<u64>), u64>;

fn model(resources: &Resources) -> Model {
    let mut model = Model::new();
    for entry in resources.iter() {
        let key = format!("{}({:?})", entry.name(), entry.reserved_for());
        match entry.amount() {
            Amount::Scalar(value) => *model.entry((key, None)).or_default() += value.0,
            Amount::Ranges(ranges) => {
                model.extend(ranges.numbers().map(|port| ((key.clone(), Some(port)), 1)));
            }
            Amount::Set(_) => unreachable!("none is generated"),
        }
    }
    model
}

fn some() -> impl Strategy<Value = Resources> {
    let scalar = (prop_oneof!["cpus", "mem"], prop_oneof!["", "\\(a\\)"], 0_u32..4000)
        .prop_map(|(name, role, value)| format!("{name}{role}:{}", f64::from(value) / 1000.0));
    let ports = (prop_oneof!["", "\\(a\\)"], 0_u64..40, 0_u64..10)
        .prop_map(|(role, begin, more)| format!("ports{role}:[{begin}-{}]", begin + more));
    prop::collection::vec(prop_oneof![scalar, ports], 0..6)
        .prop_map(|items| items.iter().fold(Resources::default(), |sum, item| &sum + &set(item)))
}

fn combine(left: &Model, right: &Model, how: impl Fn(u64, u64) -> u64) -> Model {
    let mut out = Model::new();
    for key in left.keys().chain(right.keys()) {
        let of = |model: &Model| model.get(key).copied().unwrap_or(0);
        let value = how(of(left), of(right));
        out.insert(key.clone(), if key.1.is_some() { value.min(1) } else { value });
    }
    out.retain(|_, value| *value > 0);
    out
}

proptest! {
    #[test]
    fn like_the_model(a in some(), b in some()) {
        let (x, y) = (model(&a), model(&b));
        prop_assert_eq!(model(&(&a + &b)), combine(&x, &y, |l, r| l + r));
        prop_assert_eq!(model(&(&a - &b)), combine(&x, &y, u64::saturating_sub));
        prop_assert_eq!(a.contains(&b), y.iter().all(|(key, value)| x.get(key).is_some_and(|have| have >= value)));
        prop_assert_eq!(a == b, x == y);
    }

    #[test]
    fn laws(a in some(), b in some()) {
        prop_assert_eq!(&a + &b, &b + &a);
        prop_assert!((&a + &b).contains(&a));
        prop_assert!((&a - &a).is_empty());
        prop_assert_eq!(a.checked_sub(&b).is_some(), a.contains(&b));
        if let Some(rest) = a.checked_sub(&b) {
            prop_assert_eq!(&rest + &b, a.clone());
        }
        prop_assert_eq!(&Resources::from_proto(&a.to_proto()).unwrap(), &a);
        prop_assert_eq!(&Resources::from_proto(&a.to_proto_in(Format::PreRefinement)).unwrap(), &a);
    }

    #[test]
    fn what_is_taken_was_there(a in some(), cpus in 0_u64..5000, mem in 0_u64..5000, ports in 0_u64..12) {
        let need = Need { cpus: Millis(cpus), mem: Millis(mem), ports, ..Default::default() };
        let mut rest = a.clone();
        let fits = a.cpus().unwrap_or_default().0 >= cpus
            && a.mem().unwrap_or_default().0 >= mem
            && a.iter().filter(|entry| entry.name() == "ports").map(|entry| match entry.amount() {
                Amount::Ranges(ranges) => ranges.count(),
                Amount::Scalar(_) | Amount::Set(_) => 0,
            }).sum::<u64>() >= ports;
        prop_assert_eq!(rest.fits(&need), fits);
        prop_assert_eq!(rest.count_of(&need) > 0, fits);
        match rest.take(&need) {
            Some(taken) => {
                prop_assert!(a.contains(&taken));
                prop_assert_eq!(&rest + &taken, a.clone());
                prop_assert_eq!(taken.cpus().unwrap_or_default().0, cpus);
                prop_assert_eq!(taken.mem().unwrap_or_default().0, mem);
            }
            None => prop_assert_eq!(rest, a),
        }
    }

    #[test]
    fn parsing_never_panics(text in r"[a-z:;\[\]{}()0-9,.\- *]{0,24}") {
        let _ = parse(&text);
    }
}
