use super::*;
use crate::disk::SimDisk;
use crate::types::{ErrorKind, NewEvent};

/// The store as a child sees it whose parent has opened it and forked: the same memory under
/// another process id.
fn forked(mut store: Store) -> Store {
    let handle = Arc::get_mut(&mut store.0).unwrap();
    Arc::get_mut(&mut handle.engine).unwrap().owner ^= 1;
    store
}

#[test]
fn a_forked_child_is_refused_before_it_touches_a_byte() {
    let disk = SimDisk::new(1);
    let options = Store::options().background_threads(false);
    let store = options.clone().open_on(Arc::new(disk.clone())).unwrap();
    let event = || [NewEvent::binary("Ticked", "")];
    store.append("Clock-1", Expect::Any, event()).unwrap();
    let child = forked(store);
    let before = (disk.operations(), disk.fingerprint());
    let position = Position::new(1);
    let refused = [
        child.append("Clock-1", Expect::Any, event()).map(drop),
        child.batch().append("Clock-1", Expect::Any, event()).submit().map(drop),
        child.save_checkpoint("reader", position),
        child.reset_checkpoint("reader", position),
        child.save_snapshot("Clock-1", "state", (Version::new(1), 1), "folded"),
        child.sync(),
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Locked);
    }
    assert_eq!(child.read_all().to_vec().unwrap().len(), 1, "it may look");
    assert_eq!(child.close().unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!((disk.operations(), disk.fingerprint()), before);
}
