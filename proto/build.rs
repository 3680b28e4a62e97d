//! Compiles the `.proto` files with protox: no `protoc` is needed on the machine.
//!
//! Besides prost's types it writes a table of all messages (`schema.rs`): what
//! JSON, the text format and the check for required fields read.

use std::{env, error::Error, fs, path::PathBuf};

#[path = "build/schema.rs"]
mod schema;

const FILES: [&str; 4] = [
    "mesos/v1/mesos.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/scheduler/scheduler.proto",
    "marmoset/v1/marmoset.proto",
];
const INCLUDES: [&str; 1] = ["proto"];
/// Ids are keys in ordered maps.
const IDS: [&str; 6] = ["FrameworkID", "AgentID", "ExecutorID", "TaskID", "OfferID", "OperationID"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let compiled = protox::compile(FILES, INCLUDES)?;
    fs::write(out.join("schema.rs"), schema::generate(&compiled)?)?;

    let mut config = prost_build::Config::new();
    config.include_file("packages.rs").bytes(["."]).btree_map(["."]);
    for id in IDS {
        config.type_attribute(format!("mesos.v1.{id}"), "#[derive(PartialOrd, Ord)]");
    }
    config.compile_fds(compiled)?;
    Ok(())
}
