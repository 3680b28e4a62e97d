//! Names of a job's items.

/// Gives the task id of an item: `<job>.<index>`, with `.r<attempt>` behind it after the first attempt.
pub fn task_id(job: &str, index: u64, attempt: u32) -> String {
    match attempt {
        0 => format!("{job}.{index}"),
        again => format!("{job}.{index}.r{again}"),
    }
}

/// Reads the task id of an item of this job: its index and attempt.
pub fn parse(job: &str, task_id: &str) -> Option<(u64, u32)> {
    let rest = task_id.strip_prefix(job)?.strip_prefix('.')?;
    let (index, attempt) = rest.split_once(".r").unwrap_or((rest, "0"));
    let (index, attempt) = (index.parse().ok()?, attempt.parse().ok()?);
    // Only as it would be written: no signs, no leading zeros.
    (self::task_id(job, index, attempt) == task_id).then_some((index, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(task_id("j", 0, 0), "j.0");
        assert_eq!(task_id("j", 12, 2), "j.12.r2");
    }

    #[test]
    fn names_are_read_back() {
        for (job, index, attempt) in [("j", 0, 0), ("j.1", 7, 3), ("a.r2", 12, 0), ("", 1, 1)] {
            assert_eq!(parse(job, &task_id(job, index, attempt)), Some((index, attempt)));
        }
        for other in ["j", "j.", "j.x", "j.+1", "j.01", "j.1.r0", "j.1.r", "k.1", "j.1.2", "jj.1"] {
            assert_eq!(parse("j", other), None, "{other}");
        }
    }
}
