// SPDX-License-Identifier: GPL-2.0

//! An exchange: a request and its response.

use super::Commands;
use crate::proto::{
    call::SHUT_RDWR,
    Body,
    Call,
    Response, //
};
use core::net::SocketAddr;
use kernel::{
    list::{
        impl_list_arc_safe,
        impl_list_item,
        AtomicTracker,
        ListLinks,
        TryNewListArc, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            Backend,
            Lock, //
        },
        Arc,
        Completion,
        LockedBy,
        SetOnce, //
    },
    time::Jiffies, //
};

/// A connection that is notified of the response to a request.
pub(crate) trait Recipient: Send + Sync {
    /// Returns the handle of the socket.
    fn id(&self) -> u64;

    /// Called with the response to `call`. Any context, with no lock held. Unless `call` is
    /// RELEASE, the link holds another reference, so dropping this one frees nothing.
    fn handle_response(self: Arc<Self>, call: Call, response: &Result<Response>);
}

/// The urgency of a request and of its response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// The request is sent at once, and a task waits for the response.
    Awaited,
    /// The request is sent at once. The response is taken with the next awaited one, or after a
    /// delay.
    Unawaited,
    /// The request is published with the next request, or after a delay. The response is handled as
    /// for [`Priority::Unawaited`].
    Deferred,
}

/// A request and its response.
///
/// Created in process context, and submitted once, by
/// [`Transport::submit`](crate::transport::Transport::submit). A task that waits for the response
/// holds a reference, and so does the commands ring until the response has arrived. From then on an
/// exchange owns nothing but memory, so the last reference may be dropped in any context.
#[pin_data]
pub(crate) struct Exchange {
    call: Call,
    /// The user that it is sent for.
    pub(super) owner: u64,
    /// RELEASE: set if the connection is reset. Known only when the exchange is submitted.
    abort: Atomic<bool>,
    /// RELEASE: set if the ring is left to another connection. Known only when the exchange is
    /// submitted.
    reuse: Atomic<bool>,
    /// SHUTDOWN: set if the program wants to receive nothing more either. Known only when the
    /// exchange is submitted.
    refuses: Atomic<bool>,
    /// Recipient of the response, until the response arrives.
    pub(crate) recipient: LockedBy<Option<Arc<dyn Recipient>>, Commands>,
    /// Set when the exchange is submitted.
    pub(crate) priority: LockedBy<Priority, Commands>,
    response: SetOnce<Result<Response>>,
    #[pin]
    done: Completion,
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Exchange { tracked_by tracker: AtomicTracker; }
}
impl_list_item! {
    impl ListItem<0> for Exchange { using ListLinks { self.links }; }
}

impl Exchange {
    /// Creates an exchange for the link that `commands` belongs to.
    pub(crate) fn new<B: Backend>(
        commands: &Lock<Commands, B>,
        owner: u64,
        call: Call,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                call,
                owner,
                abort: Atomic::new(false),
                reuse: Atomic::new(false),
                refuses: Atomic::new(false),
                recipient: LockedBy::new(commands, None),
                priority: LockedBy::new(commands, Priority::Awaited),
                response: SetOnce::new(),
                done <- Completion::new(),
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the call.
    pub(crate) fn call(&self) -> Call {
        match self.call {
            Call::Release { id, .. } => Call::Release {
                id,
                abort: self.abort.load(Relaxed),
                reuse: self.reuse.load(Relaxed),
            },
            Call::Shutdown { id, .. } if self.refuses.load(Relaxed) => {
                Call::Shutdown { id, how: SHUT_RDWR }
            }
            call => call,
        }
    }

    /// Makes RELEASE reset the connection.
    pub(crate) fn set_abort(&self) {
        self.abort.store(true, Relaxed);
    }

    /// Makes RELEASE leave the ring to another connection.
    pub(crate) fn set_reuse(&self) {
        self.reuse.store(true, Relaxed);
    }

    /// Makes SHUTDOWN end both directions.
    pub(crate) fn set_refuses(&self) {
        self.refuses.store(true, Relaxed);
    }

    /// Stores the response, or the error if there will be none, and wakes waiting tasks. Any
    /// context.
    pub(crate) fn finish(&self, response: Result<Response>) {
        // Only the first response counts.
        let _ = self.response.populate(response);
        self.done.complete_all();
    }

    /// Returns the error that the exchange has ended with, if any.
    pub(crate) fn error(&self) -> Option<Error> {
        self.response.copy()?.err()
    }

    /// Returns `true` once the exchange has ended. Any context.
    pub(crate) fn is_over(&self) -> bool {
        self.response.as_ref().is_some()
    }

    /// Waits killably until the exchange has ended, at most for this time. Returns `true` if it has.
    pub(crate) fn wait_at_most(&self, time: Jiffies) -> Result<bool> {
        self.done.wait_for_completion_killable_timeout(time)
    }

    /// Waits killably for the response. If the program is killed, the response is dropped.
    pub(crate) fn wait(&self) -> Result<Response> {
        self.done.wait_for_completion_killable()?;
        self.response.copy().unwrap_or(Err(EIO))
    }
}

/// Returns the error for a positive error number of the protocol.
pub(crate) fn wire_error(number: i32) -> Error {
    Error::from_errno(-number)
}

/// Returns the address in a response, if there is one.
pub(crate) fn address(response: &Response) -> Option<SocketAddr> {
    match response.body {
        Body::Addr(addr) => Some(addr),
        _ => None,
    }
}
