// SPDX-License-Identifier: GPL-2.0

//! An exchange: a request and, once it has come, the answer to it.

use super::Commands;
use crate::proto::{
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
    }, //
};

/// Who hears of the answer to a request.
pub(crate) trait Recipient: Send + Sync {
    /// Returns the handle of the socket that it is.
    fn id(&self) -> u64;

    /// Called with the answer to `call`. Any context, with no lock held. Unless that is RELEASE, the
    /// link has another reference, so that to drop this one frees nothing.
    fn hear(self: Arc<Self>, call: Call, answer: &Result<Response>);
}

/// How soon a request goes, and its answer is heard of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// At once: somebody waits for the answer.
    Awaited,
    /// It goes at once. Its answer is heard of with the next that is awaited, or some time later.
    Unheard,
    /// It goes with the next request, or some time later, and is [`Haste::Unheard`].
    Deferred,
}

/// A request and its answer.
///
/// Made in process context, submitted once, by
/// [`Transport::submit`](crate::transport::Transport::submit). Whoever
/// waits for the answer holds a reference, and so does the commands ring until the answer has come.
/// An exchange owns nothing but memory then, so that the last reference may go in any context.
#[pin_data]
pub(crate) struct Exchange {
    call: Call,
    /// RELEASE: whether it resets the connection. That is known only when it is submitted.
    abort: Atomic<bool>,
    /// RELEASE: whether it leaves the ring to another connection. Likewise.
    reuse: Atomic<bool>,
    /// Who hears of the answer, while it is waited for.
    pub(crate) recipient: LockedBy<Option<Arc<dyn Recipient>>, Commands>,
    /// Known when it is submitted.
    pub(crate) haste: LockedBy<Haste, Commands>,
    answer: SetOnce<Result<Response>>,
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
    /// Makes an exchange for the link whose `commands` these are.
    pub(crate) fn new<B: Backend>(commands: &Lock<Commands, B>, call: Call) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                call,
                abort: Atomic::new(false),
                reuse: Atomic::new(false),
                recipient: LockedBy::new(commands, None),
                haste: LockedBy::new(commands, Haste::Awaited),
                answer: SetOnce::new(),
                done <- Completion::new(),
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// What is asked.
    pub(crate) fn call(&self) -> Call {
        match self.call {
            Call::Release { id, .. } => Call::Release {
                id,
                abort: self.abort.load(Relaxed),
                reuse: self.reuse.load(Relaxed),
            },
            call => call,
        }
    }

    /// Has RELEASE reset the connection.
    pub(crate) fn set_abort(&self) {
        self.abort.store(true, Relaxed);
    }

    /// Has RELEASE leave the ring to another connection.
    pub(crate) fn set_reuse(&self) {
        self.reuse.store(true, Relaxed);
    }

    /// Stores the answer, or why there will be none, and wakes who waits. Any context.
    pub(crate) fn finish(&self, answer: Result<Response>) {
        // An answer counts once: the first.
        let _ = self.answer.populate(answer);
        self.done.complete_all();
    }

    /// The error that the backend has answered with, if it has.
    pub(crate) fn error(&self) -> Option<Error> {
        self.answer.copy()?.err()
    }

    /// Whether it has ended. Any context.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.as_ref().is_some()
    }

    /// Waits for the answer. Ends early if the program is killed; the answer is dropped then.
    pub(crate) fn wait(&self) -> Result<Response> {
        self.done.wait_for_completion_killable()?;
        self.answer.copy().unwrap_or(Err(EIO))
    }
}

/// Returns the error that a positive number of the protocol stands for.
pub(crate) fn wire_error(number: i32) -> Error {
    Error::from_errno(-number)
}

/// The address in an answer, if there is one.
pub(crate) fn address(response: &Response) -> Option<SocketAddr> {
    match response.body {
        Body::Addr(addr) => Some(addr),
        _ => None,
    }
}
