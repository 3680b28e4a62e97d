use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

fn kept(bytes: u64) -> Kept {
    Kept { file: tempfile::tempfile().unwrap(), bytes }
}

#[test]
fn files_without_names_leave_none() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b");
    let file = unnamed(&folder).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_download_nobody_waits_for_ends() {
    let cache = Arc::new(Cache::new(100, 10));
    let (alive, mut ended) = oneshot::channel::<()>();
    let mut first = Box::pin(cache.get("a", || async move {
        let _alive = alive;
        std::future::pending().await
    }));
    let mut second = Box::pin(cache.get("a", || async { unreachable!() }));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    assert!(ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    drop(second);
    assert!(ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    // And is begun anew.
    assert_eq!(cache.get("a", || async { Ok(kept(1)) }).await.unwrap().bytes, 1);
    assert_eq!(cache.shelf().coming.len(), 0);
}

proptest! {
    #[test]
    fn it_never_holds_too_much(
        uses in prop::collection::vec((0u64..8, 0u64..60), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let cache = Arc::new(Cache::new(100, 3));
        // The keys that must be there, the least recently used first.
        let mut model: Vec<(u64, u64)> = Vec::new();
        for (key, bytes) in uses {
            let downloads = AtomicUsize::new(0);
            let got = runtime.block_on(cache.get(&key.to_string(), || {
                downloads.fetch_add(1, Ordering::Relaxed);
                async move { Ok(kept(bytes)) }
            }));
            let known = model.iter().position(|(known, _)| *known == key);
            prop_assert_eq!(downloads.into_inner(), usize::from(known.is_none()));
            let entry = known.map_or((key, bytes), |at| model.remove(at));
            prop_assert_eq!(got.unwrap().bytes, entry.1);
            model.push(entry);
            while model.len() > 3 || model.iter().map(|(_, bytes)| bytes).sum::<u64>() > 100 {
                model.remove(0);
            }
            let shelf = cache.shelf();
            prop_assert_eq!(shelf.kept.len(), model.len());
            prop_assert_eq!(shelf.bytes, model.iter().map(|(_, bytes)| bytes).sum::<u64>());
        }
    }
}
