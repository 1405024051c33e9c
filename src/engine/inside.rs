//! Layer 6.0: code of the application's that runs inside the store's.
//!
//! Knows: that it may panic, and that within the writer it must not call the store: whoever commits
//! would wait for himself. Does not know: what it does.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::types::{Error, Result};

/// A panic is an error of the one whose code it is.
pub(crate) fn caught<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let why = told(&*panic);
        Err(Error::invalid(format!("{what} panicked: {why}")))
    })
}

fn told(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("it does not say why")
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs what must not call the store.
#[cfg(feature = "model")]
pub(crate) fn inside<T>(run: impl FnOnce() -> T) -> T {
    struct Left(bool);
    impl Drop for Left {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _left = Left(INSIDE.replace(true));
    run()
}

/// # Errors
/// `Invalid` while this thread runs what must not call the store.
pub(crate) fn refuse_inside() -> Result<()> {
    match INSIDE.get() {
        false => Ok(()),
        true => Err(Error::invalid(
            "a model's `apply`, or a rule that decides inside the writer, cannot call the store",
        )),
    }
}
