//! Layer 8.5: models: state folded from events, to decide on.
//!
//! Knows: what an application writes. Does not know: how models are loaded and decided on.

use super::event::{Event, decode, decode_known, schema};
use super::parts::{Fold, Parts};
use super::scope::{Place, Resumed, Scope};
use super::snapshots::Snapshots;
use crate::api::Store;
use crate::types::{EventRef, Position, Result};

/// State that is folded from events, so that a rule can be decided on it. The scope makes it an
/// aggregate (one stream) or a dynamic consistency boundary (a query).
///
/// ```
/// use factlog::{Event, Model, Scope, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// enum Bank {
///     Opened { owner: String },
///     Deposited { cents: u64 },
///     Withdrawn { cents: u64 },
/// }
///
/// #[derive(Default)]
/// struct Account {
///     id: String,
///     open: bool,
///     balance: u64,
/// }
///
/// impl Model for Account {
///     type Event = Bank;
///
///     fn scope(&self) -> Scope {
///         Scope::stream("Account", &self.id)
///     }
///
///     fn apply(&mut self, event: Bank) {
///         match event {
///             Bank::Opened { .. } => self.open = true,
///             Bank::Deposited { cents } => self.balance += cents,
///             Bank::Withdrawn { cents } => self.balance -= cents,
///         }
///     }
/// }
///
/// let store = Store::in_memory()?;
/// let account = store.load(Account { id: "alice".into(), ..Account::default() })?;
/// assert!(!account.open);
/// # Ok::<(), factlog::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    note = "implement `factlog::Model` for it; tuples of models are models too"
)]
pub trait Model: Sized {
    /// The events it is folded from.
    type Event: Event;

    /// Whether events in the scope whose type [`Self::Event`] does not know are passed over. Unless
    /// said, they are a `Decode` error: a decision on part of the facts may be wrong.
    const SKIP_UNKNOWN: bool = false;

    /// Which events these are. Asked once, before the first event is applied.
    fn scope(&self) -> Scope;

    /// Takes one event in. It has happened: there is nothing to refuse. It cannot call the store.
    fn apply(&mut self, event: Self::Event);

    /// As [`Self::apply`], for models that also need when or where it was recorded.
    fn apply_recorded(&mut self, event: Self::Event, recorded: &EventRef<'_>) {
        let _ = recorded;
        self.apply(event);
    }

    /// An event of its scope whose data was [forgotten](crate::Store::forget): there is nothing to
    /// apply. Unless this does something with what is left of it, it is passed over.
    fn forgotten(&mut self, recorded: &EventRef<'_>) {
        let _ = recorded;
    }

    /// Whether its state is saved now and then, so that a long history need not be folded from its
    /// beginning. It is not, unless this says so. The saved state takes the place of the whole
    /// value: what the application gave it beside what its scope is made of is saved with it.
    fn snapshots() -> Option<Snapshots<Self>> {
        None
    }
}

/// What a decision can be made on: a model, a tuple of up to six of them, or one from a cache.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    note = "implement `factlog::Model` for it; tuples of models are models too"
)]
pub trait Boundary: Parts {}

impl<B: Parts> Boundary for B {}

impl<M: Model> Fold for M {
    fn place(&self) -> Result<Place> {
        let mut place = self.scope().0?;
        if let Place::Query(query) = &mut place {
            // What the model cannot fold must not stand in the way of a decision either.
            for item in query.items.iter_mut().filter(|item| item.types.is_empty()) {
                item.types.extend(schema::<M::Event>().names().map(str::to_owned));
            }
        }
        Ok(place)
    }

    fn resume(&mut self, store: &Store, place: &Place) -> Result<Resumed> {
        let Some(policy) = M::snapshots() else { return Ok(Resumed::default()) };
        match policy.load(store, place)? {
            // A snapshot of something else under this name says nothing about this.
            Some((state, resumed)) if state.place().ok().as_ref() == Some(place) => {
                *self = state;
                Ok(resumed)
            }
            _ => Ok(Resumed::default()),
        }
    }

    fn fold(&mut self, event: &EventRef<'_>) -> Result<()> {
        if event.is_forgotten() {
            self.forgotten(event);
            return Ok(());
        }
        let known = match M::SKIP_UNKNOWN {
            true => decode(event)?,
            false => Some(decode_known(event)?),
        };
        if let Some(known) = known {
            self.apply_recorded(known, event);
        }
        Ok(())
    }

    fn keep(&mut self, _: &Store, _: &Place, _: Resumed) {}

    fn snapshot(&self, store: &Store, place: &Place, resumed: Resumed) -> Option<Result<Position>> {
        let policy = M::snapshots()?;
        let due = resumed.since_snapshot >= policy.every;
        due.then(|| policy.save(store, place, self, resumed))
    }
}

impl<M: Model> Parts for M {
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Fold)) {
        visit(self);
    }
}

macro_rules! tuple {
    ($($model:ident $at:tt),*) => {
        impl<$($model: Parts),*> Parts for ($($model,)*) {
            fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Fold)) {
                $(self.$at.each(visit);)*
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
