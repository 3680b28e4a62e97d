//! Runs of the allocator, by table: who gets what, and when not.

use std::time::{Duration, Instant};

use marmoset_proto::{
    mesos::v1::{OfferFilters, offer_filters},
    resources::parse,
};

use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

struct Fixture {
    allocator: Allocator,
    start: Instant,
}

impl Fixture {
    fn new(agents: &[(&str, &str)]) -> Self {
        let mut allocator = Allocator::new(INTERVAL, 7);
        for (id, resources) in agents {
            let total = parse(resources).unwrap();
            let info = AgentInfo {
                id: Some((*id).into()),
                hostname: (*id).to_owned(),
                resources: total.to_proto(),
                ..AgentInfo::default()
            };
            allocator.add_agent(info, total, []);
        }
        Self { allocator, start: Instant::now() }
    }

    fn framework(&mut self, id: &str, roles: &[&str]) {
        self.framework_with(id, roles, |_| {});
    }

    fn framework_with(&mut self, id: &str, roles: &[&str], change: impl FnOnce(&mut Wishes)) {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let mut wishes = Wishes { roles, ..Wishes::default() };
        change(&mut wishes);
        self.allocator.set_framework(&id.into(), wishes, true);
    }

    /// What a batch run at that second gives, as text, sorted.
    fn run(&mut self, second: f64) -> Vec<String> {
        shown(self.allocator.run_all(self.start + Duration::from_secs_f64(second)))
    }

    fn run_asked(&mut self, second: f64) -> Vec<String> {
        shown(self.allocator.run_asked(self.start + Duration::from_secs_f64(second)))
    }

    fn recover(&mut self, place: (&str, &str, &str), what: &str, refuse: Option<f64>, at: f64) {
        let (framework, role, agent) = place;
        let mut resources = parse(what).unwrap();
        resources.allocate(role);
        self.allocator.recover(
            &framework.into(),
            &agent.into(),
            &resources,
            refuse.map(Duration::from_secs_f64),
            self.start + Duration::from_secs_f64(at),
        );
    }
}

fn shown(grants: Vec<Grant>) -> Vec<String> {
    let mut shown = grants
        .into_iter()
        .map(|grant| {
            format!("{} {} {}: {}", grant.framework, grant.role, grant.agent, grant.resources)
        })
        .collect::<Vec<_>>();
    shown.sort();
    shown
}

const NOTHING: [&str; 0] = [];

#[test]
fn everything_goes_to_the_first_and_nothing_twice() {
    let mut on = Fixture::new(&[("a", "cpus:2;mem:64")]);
    on.framework("f", &["*"]);
    on.framework("g", &["*"]);
    assert_eq!(on.run_asked(0.0), ["f * a: cpus:2; mem:64"]);
    assert_eq!(on.run(1.0), NOTHING);
    assert!(!on.allocator.is_asked());
}

#[test]
fn a_refusal_covers_what_is_no_more_and_lasts_at_least_an_interval() {
    let mut on = Fixture::new(&[("a", "cpus:2;mem:64")]);
    on.framework("f", &["*"]);
    on.run(0.0);
    on.recover(("f", "*", "a"), "cpus:1;mem:32", Some(5.0), 0.0);
    assert_eq!(on.run(1.0), NOTHING);
    // Less than was refused is refused, too; more pierces the filter.
    on.recover(("f", "*", "a"), "cpus:1;mem:32", None, 1.0);
    assert_eq!(on.run(2.0), ["f * a: cpus:2; mem:64"]);

    on.recover(("f", "*", "a"), "cpus:2;mem:64", Some(0.1), 2.0);
    assert_eq!(on.run(2.5), NOTHING, "a refusal is not shorter than the interval");
    assert_eq!(on.run(3.0), ["f * a: cpus:2; mem:64"]);

    on.recover(("f", "*", "a"), "cpus:2;mem:64", Some(5.0), 3.0);
    assert_eq!(on.run(7.9), NOTHING);
    on.framework("g", &["*"]);
    assert_eq!(on.run(7.9), ["g * a: cpus:2; mem:64"], "others did not refuse it");
    on.recover(("g", "*", "a"), "cpus:2;mem:64", Some(0.0), 7.9);
    assert_eq!(on.run(8.0).len(), 1, "zero seconds are no filter");
}

#[test]
fn revive_forgets_refusals_of_its_roles_and_asks_for_a_run() {
    let mut on = Fixture::new(&[("a", "cpus:2;mem:64")]);
    on.framework("f", &["x", "y"]);
    on.run(0.0);
    on.recover(("f", "x", "a"), "cpus:2;mem:64", Some(1000.0), 0.0);
    // The other role did not refuse.
    assert_eq!(on.run(1.0), ["f y a: cpus:2; mem:64"]);
    on.recover(("f", "y", "a"), "cpus:2;mem:64", Some(1000.0), 1.0);
    assert_eq!(on.run(2.0), NOTHING);
    on.allocator.revive(&"f".into(), &BTreeSet::from(["y".to_owned()]));
    assert_eq!(on.run_asked(2.0), ["f y a: cpus:2; mem:64"]);

    on.recover(("f", "y", "a"), "cpus:2;mem:64", None, 2.0);
    on.allocator.suppress(&"f".into(), &BTreeSet::new());
    on.allocator.revive(&"f".into(), &BTreeSet::from(["x".to_owned()]));
    assert_eq!(on.run_asked(2.0), ["f x a: cpus:2; mem:64"]);
}

#[test]
fn too_little_is_not_worth_an_offer() {
    let least = |quantities: &[(&str, f64)]| OfferFilters {
        min_allocatable_resources: Some(offer_filters::MinAllocatableResources {
            quantities: vec![offer_filters::ResourceQuantities {
                quantities: quantities
                    .iter()
                    .map(|(name, value)| {
                        let value = marmoset_proto::mesos::v1::value::Scalar { value: *value };
                        ((*name).to_owned(), value)
                    })
                    .collect(),
            }],
        }),
    };
    let none = OfferFilters {
        min_allocatable_resources: Some(offer_filters::MinAllocatableResources::default()),
    };
    let cases = [
        ("cpus:0.01;mem:1", None, true),
        ("cpus:0.009;mem:31", None, false),
        ("mem:32", None, true),
        ("disk:1000;ports:[1-9]", None, false),
        ("disk:1", Some(none), true),
        ("cpus:4;mem:64", Some(least(&[("cpus", 4.0), ("mem", 128.0)])), false),
        ("cpus:4;mem:128", Some(least(&[("cpus", 4.0), ("mem", 128.0)])), true),
        ("ports:[1-9]", Some(least(&[("ports", 10.0)])), false),
        ("ports:[1-9]", Some(least(&[("ports", 9.0)])), true),
    ];
    for (resources, filters, offered) in cases {
        let mut on = Fixture::new(&[("a", resources)]);
        on.framework_with("f", &["*"], |wishes| {
            wishes.offer_filters = filters.map(|own| ("*".to_owned(), own)).into_iter().collect();
        });
        assert_eq!(!on.run(0.0).is_empty(), offered, "{resources}");
    }
}

#[test]
fn reserved_resources_go_to_their_role_and_below_in_one_offer_with_the_rest() {
    let mut on = Fixture::new(&[("a", "cpus(eng):4;cpus:2;mem:64")]);
    on.framework("star", &["*"]);
    assert_eq!(on.run(0.0), ["star * a: cpus:2; mem:64"]);
    on.framework("sub", &["eng/web"]);
    on.framework("other", &["engine"]);
    assert_eq!(on.run(1.0), ["sub eng/web a: cpus(reservations: [(STATIC,eng)]):4"]);
    on.recover(("star", "*", "a"), "cpus:2;mem:64", Some(1000.0), 1.0);
    on.recover(("sub", "eng/web", "a"), "cpus(eng):4", None, 1.0);
    // The role that holds nothing goes first, and gets all it may.
    let grants = on.run(2.0);
    assert_eq!(grants.len(), 2, "{grants:?}");
    assert!(grants[0].starts_with("other engine a: cpus:2"), "{grants:?}");
}

#[test]
fn an_inactive_agent_or_framework_gets_nothing() {
    let mut on = Fixture::new(&[("a", "cpus:2;mem:64")]);
    on.framework("f", &["*"]);
    on.allocator.set_agent_active(&"a".into(), false);
    assert_eq!(on.run(0.0), NOTHING);
    on.allocator.set_agent_active(&"a".into(), true);
    on.allocator.deactivate_framework(&"f".into());
    assert_eq!(on.run_asked(0.0), NOTHING);
    on.framework("f", &["*"]);
    assert_eq!(on.run_asked(0.0).len(), 1);
}

#[test]
fn agents_are_split_between_equals() {
    let agents = ["a", "b", "c", "d"].map(|id| (id, "cpus:2;mem:64"));
    let mut on = Fixture::new(&agents);
    on.framework("f", &["*"]);
    on.framework("g", &["*"]);
    let grants = on.run(0.0);
    let of = |id: &str| grants.iter().filter(|grant| grant.starts_with(id)).count();
    assert_eq!((of("f"), of("g")), (2, 2), "{grants:?}");
}
