// SPDX-License-Identifier: GPL-2.0

//! The received datagrams, as the receiving tasks find them.

use super::{
    frame_at,
    info_at,
    Broken,
    Conn,
    ReceiveQueue, //
};
use crate::proto::{
    frame::{
        payload_at,
        Frame, //
    },
    info::Info, //
};
use core::net::SocketAddr;
use kernel::{
    net::sock::{
        Shutdown,
        Sock,
        SockFlag, //
    },
    sync::ArcBorrow, //
};

/// A datagram that waits to be received.
pub(crate) struct QueuedDatagram {
    /// Bytes of its payload.
    pub(crate) len: u32,
    /// Source address; `None` stands for the peer of the socket.
    pub(crate) from: Option<SocketAddr>,
    /// Set if the frame has an [`Info`] block.
    has_info: bool,
    /// Bytes of the frames before it.
    before: u32,
    /// Bytes of its payload that the program skips.
    pub(crate) skip: u32,
    /// Bytes of the whole frame.
    frame: u32,
}

impl QueuedDatagram {
    /// Returns the offset of the payload after `skip`, from the first frame on.
    pub(crate) fn payload(&self) -> u32 {
        payload_at(self.has_info) + self.before + self.skip
    }
}

impl Conn {
    /// Ends a connection with a frame that the backend has broken since it was checked. Nothing is
    /// received from the ring any more: if the connection has ended before, tasks would come upon
    /// the frame again and again.
    fn broken_frame(this: ArcBorrow<'_, Self>) {
        Self::broken(this);
        // After the end of the connection no frames are added.
        *this.receive_queue.lock() = ReceiveQueue::default();
    }

    /// Returns the first datagram. Consumes the frames before it, which are errors that were
    /// reported. The caller holds `rx`.
    pub(crate) fn first_datagram(this: ArcBorrow<'_, Self>) -> Option<QueuedDatagram> {
        // Read once: a backend that goes on sending errors must not keep this task busy.
        let mut left = this.receive_queue.lock().known;
        while left > 0 {
            match frame_at(&this.ring, this.remote.domain, 0, left) {
                Ok((
                    Frame::Data {
                        len,
                        addr,
                        has_info,
                    },
                    frame,
                )) => {
                    return Some(QueuedDatagram {
                        len,
                        from: addr,
                        has_info,
                        before: 0,
                        skip: 0,
                        frame,
                    })
                }
                Ok((Frame::Error(_) | Frame::Report { .. }, frame)) => {
                    this.consume_frame(frame, false);
                    left = left.saturating_sub(frame);
                }
                Err(Broken) => {
                    Self::broken_frame(this);
                    return None;
                }
            }
        }
        None
    }

    /// Looks for a datagram for a task that waits for one, and returns `true` if there is one. May
    /// sleep.
    ///
    /// Consumes the errors before it: with them in the queue, the task would not sleep.
    pub(crate) fn look_for_datagram(this: ArcBorrow<'_, Self>) -> bool {
        if !this.has_frame() {
            // Ahead of the event, and even if a backend breaks the rules of events.
            Self::queue_frames(this);
        }
        if !this.has_frame() {
            return false;
        }
        let _rx = this.rx.lock();
        Self::first_datagram(this).is_some()
    }

    /// Returns the datagram with the byte at `offset` of the payloads, counted from the first
    /// datagram; without an offset, the first datagram. Passes empty datagrams that a peek has
    /// returned, as `__skb_try_recv_from_queue()` does. The caller holds `rx`. With an offset, it
    /// leaves the datagram in the ring.
    pub(crate) fn datagram_at(
        this: ArcBorrow<'_, Self>,
        offset: Option<u32>,
    ) -> Option<QueuedDatagram> {
        let mut queued = Self::first_datagram(this)?;
        let Some(mut skip) = offset else {
            return Some(queued);
        };
        let (known, peeked) = {
            let receive_queue = this.receive_queue.lock();
            (receive_queue.known, receive_queue.peeked)
        };

        // The loop ends: each turn passes a received frame.
        while skip >= queued.len && (skip > 0 || queued.before < peeked) {
            skip -= queued.len;
            loop {
                let before = queued.before.checked_add(queued.frame)?;
                let left = known.checked_sub(before).filter(|left| *left > 0)?;
                match frame_at(&this.ring, this.remote.domain, before, left) {
                    Ok((
                        Frame::Data {
                            len,
                            addr,
                            has_info,
                        },
                        frame,
                    )) => {
                        queued = QueuedDatagram {
                            len,
                            from: addr,
                            has_info,
                            before,
                            skip: 0,
                            frame,
                        };
                        break;
                    }
                    Ok((Frame::Error(_) | Frame::Report { .. }, frame)) => {
                        queued.before = before;
                        queued.frame = frame;
                    }
                    Err(Broken) => {
                        Self::broken_frame(this);
                        return None;
                    }
                }
            }
        }
        Some(QueuedDatagram { skip, ..queued })
    }

    /// Returns the [`Info`] of a datagram, if it has a valid one. The caller holds `rx`.
    pub(crate) fn info_of(&self, queued: &QueuedDatagram) -> Option<Info> {
        let info = queued
            .has_info
            .then(|| info_at(&self.ring, self.remote.domain, queued.before))?;
        info.ok()
    }

    /// Returns the time at which a datagram has arrived, or the current time if that was not noted.
    /// The caller holds `rx`.
    pub(crate) fn arrival_of(&self, queued: &QueuedDatagram) -> i64 {
        let noted = self.receive_queue.lock().arrivals.time_of(queued.before);
        noted.unwrap_or_else(Sock::time_of_day)
    }

    /// Notes that a peek has returned a datagram. The caller holds `rx`.
    pub(crate) fn note_peek(&self, queued: &QueuedDatagram) {
        if queued.len == 0 {
            let mut receive_queue = self.receive_queue.lock();
            let end = queued.before.saturating_add(queued.frame);
            receive_queue.peeked = receive_queue.peeked.max(end);
        }
    }

    /// Gives the place of a datagram back to the backend. The caller holds `rx`.
    pub(crate) fn consume_datagram(&self, queued: &QueuedDatagram) {
        self.consume_frame(queued.frame, true);
    }

    fn consume_frame(&self, frame: u32, is_datagram: bool) {
        let notify = {
            let mut receive_queue = self.receive_queue.lock();
            receive_queue.forget(frame, is_datagram);
            self.ring.consume(frame)
        };
        if notify {
            self.notify();
        }
    }

    /// Busy-polls, if that is enabled for the socket, until there are frames, or frames behind the
    /// index `seen`, or there is another reason not to wait. Process context; may sleep.
    ///
    /// Meanwhile the backend sends no events for frames: this task notifies the socket of them. If
    /// another task sleeps or wants signals, events go on, as this task may lose its processor.
    pub(crate) fn busy_poll(this: ArcBorrow<'_, Self>, sk: &Sock, seen: Option<u32>) {
        if !sk.busy_polls() {
            return;
        }
        let has_arrived = || match seen {
            Some(seen) => this.ring.arrived() != seen,
            None => this.has_unread(),
        };
        {
            // Excludes others who ask for events.
            let _receive_queue = this.receive_queue.lock();
            if !sk.has_sleeper() && !sk.is_flag(SockFlag::Async) {
                this.ring.expect_nothing();
            }
        }
        sk.busy_poll(|| {
            has_arrived()
                || this.death().is_some()
                || sk.error().is_some()
                || sk.shutdown_mask().contains(Shutdown::Recv)
        });
        // Asks for events again, and finds what has arrived without one.
        Self::queue_frames(this);
    }

    /// Looks for errors of datagrams sent before. Consumes the frames if all of them are errors, to
    /// make room: a program that only sends never receives.
    pub(crate) fn drop_errors(this: ArcBorrow<'_, Self>) {
        if this.ring.peek_readable() > this.receive_queue.lock().known {
            // Ahead of the event.
            Self::queue_frames(this);
        }
        let has_only_errors = {
            let receive_queue = this.receive_queue.lock();
            receive_queue.known > 0 && receive_queue.datagrams == 0
        };
        if has_only_errors {
            if let Some(_rx) = this.rx.try_lock() {
                let _ = Self::first_datagram(this);
            }
        }
    }
}
