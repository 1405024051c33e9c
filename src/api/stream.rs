//! Layer 7.4: a subscription as a `futures_core::Stream`.
//!
//! Knows: wakers. Does not know: runtimes. A type of its own, so that `next` is never ambiguous.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::subscribe::{Delivery, Subscription};
use crate::types::{ErrorKind, Result};

/// The deliveries of a subscription; ends when the store is closed. Reading happens on the polling
/// task's thread, in pieces of one event.
#[derive(Debug)]
pub struct DeliveryStream(Subscription);

impl Subscription {
    /// The same subscription for async code, in any runtime.
    #[must_use]
    pub fn into_stream(self) -> DeliveryStream {
        DeliveryStream(self)
    }
}

impl Stream for DeliveryStream {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Closed => Poll::Ready(None),
            Poll::Ready(delivery) => Poll::Ready(Some(delivery)),
        }
    }
}
