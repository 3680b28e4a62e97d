//! Basic authentication, and masters that do not lead.

use marmoset_mini::{Credential, Leadership};
use serde_json::{Value, json};

use crate::support::{client, cluster, cluster_with, framework};

fn subscribe(info: &Value) -> String {
    json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}).to_string()
}

#[tokio::test]
async fn with_credentials_schedulers_must_authenticate() {
    let cluster = cluster_with(|master| {
        let (principal, secret) = ("alice".to_owned(), "s3cret".to_owned());
        master.credentials = Some(vec![Credential { principal, secret }]);
    })
    .await;
    let url = format!("http://{}/api/v1/scheduler", cluster.master_addr());
    let request = || {
        client().post(&url).header("Content-Type", "application/json").body(subscribe(&framework()))
    };

    let refused = request().send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"mesos-master-scheduler\"");
    assert_eq!(refused.text().await.unwrap(), "401 Unauthorized.");
    let wrong = request().basic_auth("alice", Some("guess")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);

    let mut response = request().basic_auth("alice", Some("s3cret")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.chunk().await.unwrap();
    let state = crate::support::get(cluster.master_addr(), "/state").await;
    assert_eq!(state["frameworks"][0]["principal"], "alice");

    let mut info = framework();
    info["principal"] = json!("bob");
    let foreign =
        request().body(subscribe(&info)).basic_auth("alice", Some("s3cret")).send().await.unwrap();
    assert_eq!(foreign.status(), 400);
    assert_eq!(
        foreign.text().await.unwrap(),
        "Failed to validate scheduler::Call: Authenticated principal 'alice' does not match \
         principal 'bob' set in `FrameworkInfo`"
    );
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_master_that_does_not_lead_sends_clients_on() {
    let leader = "leader.example:5050".to_owned();
    let cluster =
        cluster_with(|master| master.leadership = Leadership::Following(leader.clone())).await;
    let base = format!("http://{}", cluster.master_addr());
    for (path, location) in [
        ("/api/v1/scheduler", "//leader.example:5050/api/v1/scheduler"),
        ("/master/state?x=1", "//leader.example:5050/master/state?x=1"),
        ("/redirect", "//leader.example:5050"),
    ] {
        let response = client().get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status(), 307, "{path}");
        assert_eq!(response.headers()["location"], location);
    }
    let healthy = client().get(format!("{base}/health")).send().await.unwrap();
    assert_eq!(healthy.status(), 200);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_master_that_is_not_ready_says_so() {
    let cluster = cluster().await;
    let url = format!("http://{}/api/v1/scheduler", cluster.master_addr());
    for (leadership, text) in [
        (Leadership::Recovering, "Master has not finished recovery"),
        (Leadership::NoLeader, "No leader elected"),
    ] {
        cluster.faults().set_leadership(leadership);
        // Before the method is looked at.
        let response = client().get(&url).send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.text().await.unwrap(), text);
    }
    cluster.faults().set_leadership(Leadership::Leading);
    assert_eq!(client().get(&url).send().await.unwrap().status(), 405);
    cluster.shutdown().await;
}
