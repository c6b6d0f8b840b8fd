// SPDX-License-Identifier: GPL-2.0

//! The two directions of a connection: between the data ring and the TCP socket.
//!
//! TCP copies each byte once, from or to the pages of the ring.

use crate::{
    conn_ring::ConnRing,
    fast_path::FastPath,
    guest::Guest,
    outcome_report::OutcomeReport,
    proto::{
        errno::Ending,
        ring::Violation,
        urgent::NextBytes,
        Feature, //
    },
    pump::Progress,
    socket::GuestSocket,
    urgent::Urgent, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        kernel_socket::Tcp,
        sock::{
            Shutdown,
            ShutdownMask,
            TcpState, //
        },
        socket::How, //
    },
    prelude::*,
    sync::Arc,
    xen::trace::xensock_back as trace, //
};

/// Maximum number of passes over both directions before other work has its turn.
const BUDGET: u32 = 32;

/// A connection, or the attempt to make one: its socket, and the ring that it shares with the
/// guest.
pub(crate) struct ByteStream {
    /// The guest's id of the connection.
    id: u64,
    path: Arc<FastPath>,
    /// CONNECT and its peer, until the guest is told the outcome.
    connecting: Option<(OutcomeReport, SocketAddr)>,
    /// The reason why the connection has failed.
    failure: Option<Error>,
    /// The directions that the guest has shut down, and those in which the socket was shut down.
    wanted_shut: ShutdownMask,
    shut: ShutdownMask,
    has_ended_in: bool,
    has_ended_out: bool,
    /// `None` if the link does not have the feature.
    urgent: Option<Urgent>,
}

impl ByteStream {
    /// Creates a stream on `path`, whose socket has callbacks. `connecting` is an undecided
    /// CONNECT.
    pub(crate) fn new(
        guest: &Guest,
        id: u64,
        path: Arc<FastPath>,
        connecting: Option<(OutcomeReport, SocketAddr)>,
    ) -> Self {
        Self {
            id,
            path,
            connecting,
            failure: None,
            wanted_shut: ShutdownMask::default(),
            shut: ShutdownMask::default(),
            has_ended_in: false,
            has_ended_out: false,
            urgent: guest.transport.has(Feature::Urgent).then(Urgent::default),
        }
    }

    /// Ends the callbacks and the TCP connection. Returns the ring, which has to go last. A
    /// connection that is not established yet fails with `error`, and then no ring is shared any
    /// more. Sleeps.
    ///
    /// The peer gets a reset if `abort` is set, if the guest has not read all received data, if not
    /// all of its own data can be sent, or if too many closed sockets are still there.
    pub(crate) fn end(mut self, guest: &Guest, abort: bool, error: Error) -> Option<Arc<ConnRing>> {
        let shared = self.path.shared.clone();
        let has_unread = shared.ring.writable() != Ok(shared.ring.tx_size());
        if abort || has_unread || !self.send_rest() || !self.may_linger(guest) {
            self.socket().tcp().set_linger_abort();
        }
        self.socket().tcp().clear_callbacks();
        drop(self.path);
        match self.connecting {
            Some((completion, peer)) => {
                let to = guest.transport.peer();
                trace::connect(to, self.id, None, peer, Err(error));
                completion.fail(&guest.transport, shared, error);
                None
            }
            None => Some(shared),
        }
    }

    /// Returns `true` if TCP may keep the socket after it is closed.
    fn may_linger(&self, guest: &Guest) -> bool {
        let socket = self.socket();
        // What was just sent counts, too.
        socket.count_memory_again();
        guest.may_linger(socket.tenant(), socket.tcp().buffered().sent)
    }

    /// Returns the ring that the stream shares with the guest.
    pub(crate) fn shared(&self) -> &ConnRing {
        &self.path.shared
    }

    fn socket(&self) -> &GuestSocket<Tcp> {
        &self.path.socket
    }

    /// Returns `true` if there are only bytes to move, for now.
    pub(crate) fn can_use_fast_path(&self) -> bool {
        self.connecting.is_none()
            && self.failure.is_none()
            // The end of the peer's stream may still wait for room in `in`.
            && !self.has_peer_ended()
            && self.shut == self.wanted_shut
            && !self.shut.contains(Shutdown::Send)
            && self.shared().is_settled()
    }

    /// Checks if the connection is established, after CONNECT has begun, and if so reports that in
    /// the ring. Returns `true` if the guest has to be notified. An error is the outcome of
    /// CONNECT.
    pub(crate) fn establish(&mut self, guest: &Guest) -> Result<bool> {
        let Some((completion, peer)) = self.connecting else {
            return Ok(false);
        };
        match self.socket().tcp().tcp_state() {
            TcpState::SynSent | TcpState::SynRecv => return Ok(false),
            TcpState::Close => {
                let error = self.socket().tcp().take_error();
                // TCP returns the error once, and this may be the second call.
                let error = *self.failure.get_or_insert(error.unwrap_or(ECONNREFUSED));
                return Err(error);
            }
            _ => (),
        }
        let name = self.socket().tcp().local_addr()?;
        self.connecting = None;
        let to = guest.transport.peer();
        trace::connect(to, self.id, Some(name), peer, Ok(()));
        Ok(completion.succeed(&guest.transport, self.shared(), name))
    }

    /// Moves as much data as possible. `shut` is the set of directions that the guest has shut
    /// down. The caller has read it before, so all data that the guest had sent until then are in
    /// the ring.
    pub(crate) fn progress(
        &mut self,
        guest: &Guest,
        shut: ShutdownMask,
    ) -> Result<Progress, Violation> {
        self.wanted_shut = shut;
        match self.establish(guest) {
            Ok(true) => self.shared().notifier.notify(),
            Ok(false) if self.connecting.is_some() => return Ok(Progress::Idle),
            Ok(false) => (),
            Err(error) => {
                return Ok(Progress::Failed {
                    abort: false,
                    error,
                })
            }
        }
        // Neither direction would see a reset now if `in` is full and `out` is empty.
        if let Some(error) = self.socket().tcp().take_error() {
            self.fail(error);
        }
        // After a pass in which nothing had arrived, only the last one looks again: looking costs as
        // much as sending.
        let mut looks = true;
        for _ in 0..BUDGET {
            self.shared().begin_pass();
            let has_received = looks && self.receive()?;
            let has_sent = self.transmit(false)?;
            self.socket().update_memory();
            if !has_received && !has_sent && (looks || !self.receive()?) {
                self.shut_down(shut)?;
                self.end_out();
                return Ok(Progress::Idle);
            }
            looks = has_received || !has_sent;
        }
        Ok(Progress::Busy)
    }

    /// Shuts the socket down, in each direction once, if nothing is left to send.
    fn shut_down(&mut self, directions: ShutdownMask) -> Result<(), Violation> {
        if self.shut == directions || self.failure.is_some() || self.shared().ring.readable()? != 0
        {
            return Ok(());
        }
        for (direction, how) in [(Shutdown::Send, How::Write), (Shutdown::Recv, How::Read)] {
            if directions.contains(direction) && !self.shut.contains(direction) {
                // This fails if the connection has ended meanwhile, which shows elsewhere too.
                let _ = self.socket().tcp().shutdown(how);
            }
        }
        self.shut = directions;
        Ok(())
    }

    /// Moves bytes from the socket to `in`. Returns `true` if there may be more.
    fn receive(&mut self) -> Result<bool, Violation> {
        if self.has_ended_in {
            return Ok(false);
        }
        let ring = &self.path.shared.ring;
        let room = ring.writable_or_ask()?;
        if room == 0 {
            self.report_urgent(0);
            return Ok(false);
        }
        match ring.with_writable(0, room, |vecs| self.socket().tcp().recv(vecs)) {
            // After a local shutdown there is nothing more to read, but the peer may not have ended
            // yet.
            Ok(0) if self.failure.is_none() && !self.has_peer_ended() => (),
            Ok(0) => self.end_in(),
            Ok(n) => {
                // CAST: No more than `room`.
                let n = n as u32;
                self.report_urgent(n);
                if self.shared().ring.produce(n) {
                    self.shared().notifier.notify();
                }
                return Ok(true);
            }
            Err(EAGAIN) => self.report_urgent(0),
            Err(error) => {
                self.fail(error);
                self.end_in();
            }
        }
        Ok(false)
    }

    /// Tells the guest of an urgent byte, before the last `len` bytes are produced.
    fn report_urgent(&mut self, len: u32) {
        if let Some(urgent) = &mut self.urgent {
            urgent.report(self.path.socket.tcp(), &self.path.shared, len);
        }
    }

    /// Moves bytes from `out` to the socket, up to what the user may have, or all that TCP takes if
    /// the ring is about to go. Returns `true` if there may be more.
    fn transmit(&mut self, is_last: bool) -> Result<bool, Violation> {
        // Bytes behind the guest's end of stream are ignored.
        if self.failure.is_some() || self.shut.contains(Shutdown::Send) {
            return Ok(false);
        }
        let ring = &self.path.shared.ring;
        let len = ring.readable_or_ask()?;
        if len == 0 {
            return Ok(false);
        }
        let piece = match &mut self.urgent {
            Some(urgent) => {
                let piece = urgent.piece(&self.path.shared, len);
                self.path.set_urgent_done(urgent.done());
                piece
            }
            None => NextBytes::all(len),
        };
        let len = match is_last {
            true => piece.len,
            false => self.socket().sendable(piece.len),
        };
        let sent = ring.with_readable(0, len, |from| {
            let tcp = self.socket().tcp();
            if piece.is_urgent {
                tcp.send_urgent(from)
            } else if from.len_bytes() < len as usize {
                // The next pass sends the rest.
                tcp.send_part(from)
            } else {
                tcp.send(from)
            }
        });
        match sent {
            Ok(n) => {
                // CAST: No more than `len`.
                if ring.consume(n as u32) {
                    self.shared().notifier.notify();
                }
                return Ok(n > 0);
            }
            Err(EAGAIN) => (),
            Err(error) => self.fail(error),
        }
        Ok(false)
    }

    /// Sends the rest of `out`: a frontend of PV Calls may not have waited for that. Returns `true`
    /// if nothing remains to be sent.
    fn send_rest(&mut self) -> bool {
        for _ in 0..BUDGET {
            match self.transmit(true) {
                Ok(true) => (),
                Ok(false) => break,
                Err(Violation) => return false,
            }
        }
        self.shut.contains(Shutdown::Send) || self.shared().ring.readable() == Ok(0)
    }

    /// Notes that the connection has failed. The first error counts.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Tells the guest once it can send nothing more.
    ///
    /// This follows the received data, as far as there was room for them: a guest that learns of a
    /// reset here finds it in `in` too.
    fn end_out(&mut self) {
        if self.has_ended_out {
            return;
        }
        let ending = if let Some(error) = self.failure {
            Ending::Failed(-error.to_errno())
        } else if self.is_acknowledged() {
            Ending::Orderly
        } else {
            return;
        };
        self.has_ended_out = true;
        self.shared().ring.end_rx(ending);
        self.shared().notifier.notify();
    }

    /// Returns `true` if the peer has acknowledged all data of the guest, and the end of stream.
    fn is_acknowledged(&self) -> bool {
        if !self.shut.contains(Shutdown::Send) {
            return false;
        }
        match self.socket().tcp().tcp_state() {
            TcpState::FinWait2 => true,
            // TCP gets here after an error, too. Then the error is pending, and its callback
            // follows.
            TcpState::Close => !self.socket().tcp().has_error(),
            _ => false,
        }
    }

    /// Returns `true` if the peer will send nothing more, or the connection is over.
    fn has_peer_ended(&self) -> bool {
        !matches!(
            self.socket().tcp().tcp_state(),
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        )
    }

    /// Ends `in`: the peer will send nothing more, and all that it has sent is in the ring.
    fn end_in(&mut self) {
        if self.failure.is_none() {
            // A guest that sees the peer's end also sees that its own has arrived.
            self.end_out();
        }
        self.has_ended_in = true;
        self.shared().ring.end_tx(match self.failure {
            // TCP reports a reset after the end of the peer's stream as EPIPE. It does not concern
            // the received data.
            None | Some(EPIPE) => Ending::Orderly,
            Some(error) => Ending::Failed(-error.to_errno()),
        });
        self.shared().notifier.notify();
    }
}
