//! Layer 8.6: a cache of folded state, for models that are decided on again and again.
//!
//! Knows: states and how far they are folded. Does not know: decisions. Nothing cached is trusted
//! to be current: what was recorded since is always folded in first.

use std::collections::HashMap;
use std::ops::Deref;

use super::parts::{Fold, Parts};
use super::scope::{Place, Resumed};
use super::traits::Model;
use crate::api::{Store, StoreIdentity};
use crate::sync::{Arc, Mutex};
use crate::types::{EventRef, Position, Result};

/// Folded states of models by their scope, so that a hot one is not folded from the beginning for
/// every decision. Cheap to clone and to share between threads.
///
/// ```
/// # use factlog::{Event, Model, ModelCache, Scope, Store};
/// # #[derive(Event, serde::Serialize, serde::Deserialize)]
/// # enum Clock { Ticked }
/// # #[derive(Clone, Default)]
/// # struct Ticks { count: u64 }
/// # impl Model for Ticks {
/// #     type Event = Clock;
/// #     fn scope(&self) -> Scope { Scope::stream("Clock", 1) }
/// #     fn apply(&mut self, _: Clock) { self.count += 1; }
/// # }
/// let store = Store::in_memory()?;
/// let cache = ModelCache::new(1000);
/// for _ in 0..3 {
///     let ticks = cache.of(Ticks::default());
///     store.decide(ticks, |_| Ok::<_, String>([Clock::Ticked])).unwrap();
/// }
/// assert_eq!(store.load(cache.of(Ticks::default()))?.count, 3);
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug)]
pub struct ModelCache<M>(Arc<Mutex<States<M>>>);

impl<M> Clone for ModelCache<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct States<M> {
    capacity: usize,
    uses: u64,
    by_place: HashMap<String, State<M>>,
}

#[derive(Debug)]
struct State<M> {
    store: StoreIdentity,
    model: M,
    resumed: Resumed,
    used: u64,
}

impl<M: Model + Clone> ModelCache<M> {
    /// Room for so many states; those used longest ago make room for others.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let by_place = HashMap::new();
        Self(Arc::new(Mutex::new(States { capacity: capacity.max(1), uses: 0, by_place })))
    }

    /// The model, to be decided on or loaded, with what is cached of it.
    pub fn of(&self, model: M) -> Cached<M> {
        Cached { cache: self.clone(), model }
    }

    /// How many states are cached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().by_place.len()
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.lock().by_place.clear();
    }
}

/// A model with a cache behind it; see [`ModelCache::of`].
#[derive(Debug, Clone)]
pub struct Cached<M> {
    cache: ModelCache<M>,
    model: M,
}

impl<M> Cached<M> {
    /// The model alone.
    pub fn into_inner(self) -> M {
        self.model
    }
}

impl<M> Deref for Cached<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M: Model + Clone> Fold for Cached<M> {
    fn place(&self) -> Result<Place> {
        self.model.place()
    }

    fn resume(&mut self, store: &Store, place: &Place) -> Result<Resumed> {
        let mut states = self.cache.0.lock();
        states.uses += 1;
        let uses = states.uses;
        if let Some(state) = states.by_place.get_mut(&place.key())
            && state.store == store.identity()
            && state.resumed.position <= store.last_position()
            && counts(store, place, state.resumed)
        {
            state.used = uses;
            self.model = state.model.clone();
            return Ok(state.resumed);
        }
        drop(states);
        self.model.resume(store, place)
    }

    fn fold(&mut self, event: &EventRef<'_>) -> Result<()> {
        self.model.fold(event)
    }

    fn keep(&mut self, store: &Store, place: &Place, resumed: Resumed) {
        let mut states = self.cache.0.lock();
        states.uses += 1;
        let (store, model, used) = (store.identity(), self.model.clone(), states.uses);
        let state = State { store, model, resumed, used };
        let known = states.by_place.get(&place.key());
        let older = |known: &State<M>| {
            known.store != state.store || known.resumed.position <= resumed.position
        };
        if known.is_none_or(older) {
            states.by_place.insert(place.key(), state);
            states.make_room();
        }
    }

    fn snapshot(&self, store: &Store, place: &Place, resumed: Resumed) -> Option<Result<Position>> {
        self.model.snapshot(store, place, resumed)
    }
}

impl<M: Model + Clone> Parts for Cached<M> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Fold)) {
        visit(self);
    }
}

/// Whether the stream still lives the life that the state was folded from.
fn counts(store: &Store, place: &Place, resumed: Resumed) -> bool {
    match place {
        Place::Stream(stream) => store.is_reached_by(stream, resumed.version),
        Place::Query(_) => true,
    }
}

impl<M> States<M> {
    /// The older half goes at once, so that making room costs little per state.
    fn make_room(&mut self) {
        if self.by_place.len() <= self.capacity {
            return;
        }
        let mut uses: Vec<u64> = self.by_place.values().map(|state| state.used).collect();
        let middle = uses.len() / 2;
        let (_, oldest_kept, _) = uses.select_nth_unstable(middle);
        let oldest_kept = *oldest_kept;
        self.by_place.retain(|_, state| state.used >= oldest_kept);
    }
}
