// SPDX-License-Identifier: GPL-2.0

//! Tests of what others do to a kernel socket: administrators destroy it.

use super::{
    super::{
        Callbacks,
        Locked,
        Tally, //
    },
    listener,
    stream, //
};

use crate::{
    net::sock::{
        Sock,
        TcpState, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Counts calls, and those that were told that the socket is locked.
struct Calls {
    all: Atomic<usize>,
    locked: Atomic<usize>,
}

impl Callbacks for Calls {
    fn data_ready(&self, tcp: Option<&Locked<'_>>) {
        self.all.add(1, Relaxed);
        if tcp.is_some() {
            self.locked.add(1, Relaxed);
        }
    }

    fn write_space(&self) {}

    fn state_change(&self) {}

    fn error_report(&self) {}
}

#[macros::kunit_tests(rust_kernel_socket_interference)]
mod suite {
    use super::*;

    #[test]
    fn a_former_listener_may_be_unlocked() -> Result {
        let listener = listener()?;
        let (all, locked) = (Atomic::new(0), Atomic::new(0));
        let calls = Arc::new(Calls { all, locked }, GFP_KERNEL)?;
        listener.set_callbacks(calls.clone())?;

        listener.disconnect()?;
        assert_eq!(listener.tcp_state(), TcpState::Close);
        let sk = listener.sk().as_raw();
        // A connection arrives that has found the listener before.
        // SAFETY: The socket is valid, and nothing changes its callbacks.
        if let Some(data_ready) = unsafe { (*sk).sk_data_ready } {
            // SAFETY: TCP calls this for its listeners, without the lock.
            unsafe { data_ready(sk) };
        }
        assert_eq!(calls.all.load(Relaxed), 1);
        assert_eq!(calls.locked.load(Relaxed), 0);
        assert_eq!(listener.with_lock(|_| ()), None);
        listener.clear_callbacks();
        Ok(())
    }

    #[test]
    fn a_former_listener_is_counted_while_it_is_open() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut listener = listener()?;
        listener.count_in(&tally)?;
        listener.disconnect()?;

        let sk: ARef<Sock> = listener.sk().into();
        assert_eq!(tally.count(), 1);
        drop(listener);
        // A copy of the socket would have the same pointer to the count.
        // SAFETY: The socket is valid, and nothing else uses it.
        assert!(unsafe { (*sk.as_raw()).sk_user_data }.is_null());
        assert_eq!(tally.count(), 0);
        Ok(())
    }

    #[test]
    fn a_closed_socket_is_counted() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut socket = stream()?;
        socket.count_in(&tally)?;

        let sk: ARef<Sock> = socket.sk().into();
        drop(socket);
        assert_eq!(tally.count(), 1);
        drop(sk);
        assert_eq!(tally.count(), 0);
        Ok(())
    }
}
