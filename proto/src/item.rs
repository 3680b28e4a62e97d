//! Names of a job's items.

/// Gives the task id of an item: `<job>.<index>`, with `.r<attempt>` behind it after the first attempt.
pub fn task_id(job: &str, index: u64, attempt: u32) -> String {
    match attempt {
        0 => format!("{job}.{index}"),
        again => format!("{job}.{index}.r{again}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(task_id("j", 0, 0), "j.0");
        assert_eq!(task_id("j", 12, 2), "j.12.r2");
    }
}
