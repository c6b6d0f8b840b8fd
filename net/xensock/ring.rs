// SPDX-License-Identifier: GPL-2.0

//! A data ring as one of its ends works on it.
//!
//! The ring is an indexes page and `2^order` data pages, see "Data ring" in
//! `Documentation/networking/xensock/protocol.rst`. Each end produces into one half and consumes
//! from the other. The peer may write any of this memory at any time, so that
//!
//! - our own two indexes live in private memory, and are only ever published from there;
//! - the peer's index is read once for each decision, and checked: it can never make us touch bytes
//!   outside the half, or more than the half holds;
//! - the bytes are copied straight between the pages and the caller's buffers.
//!
//! Each direction has one user at a time, who moves its index; who that is, is the owner's matter:
//! the holder of a mutex in the frontend, a work item in the backend. Everybody else may only look:
//! see [`DataRing::peek_readable`].
//!
//! Nothing here sleeps, apart from copies from and to the memory of a program, which may fault.

use crate::proto::{
    addr::BadAddr,
    errno::Ending,
    indexes::{
        self,
        Direction, //
    },
    ring::{
        spans,
        Order,
        Violation, //
    },
    status::{
        self,
        Outcome, //
    },
    stream::{
        Consumer,
        Own,
        Producer,
        Words, //
    }, //
};
use core::{
    net::SocketAddr,
    ops::Deref, //
};
use kernel::{
    bvec::BioVecs,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier::{
            virt_mb,
            Full, //
        }, //
    },
    xen::shared::SharedPages, //
};

/// Which end of the ring this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest: consumes `in`, produces `out`.
    Front,
    /// The backend domain: consumes `out`, produces `in`.
    Back,
}

/// A data ring over pages that are either granted to the peer or mapped from it.
///
/// # Invariants
///
/// `data` has `2 * size` bytes, and `index` is one page.
pub struct DataRing<P: Deref<Target = SharedPages>> {
    index: P,
    data: P,
    size: u32,
    event_index: bool,
    rx: Consumer<Atomic<u32>>,
    rx_base: usize,
    tx: Producer<Atomic<u32>>,
    tx_base: usize,
}

impl Own for Atomic<u32> {
    fn new(value: u32) -> Self {
        Self::new(value)
    }

    fn load(&self) -> u32 {
        Atomic::load(self, Relaxed)
    }

    fn load_acquire(&self) -> u32 {
        Atomic::load(self, Acquire)
    }

    fn store(&self, value: u32) {
        Atomic::store(self, value, Relaxed);
    }

    fn store_release(&self, value: u32) {
        Atomic::store(self, value, Release);
    }
}

impl<P: Deref<Target = SharedPages>> Words for DataRing<P> {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.index.word(offset).map_or(0, |word| word.load(Acquire))
    }

    fn load(&self, offset: usize) -> u32 {
        self.index.word(offset).map_or(0, |word| word.load(Relaxed))
    }

    fn store_release(&self, offset: usize, value: u32) {
        if let Ok(word) = self.index.word(offset) {
            word.store(value, Release);
        }
    }

    fn store(&self, offset: usize, value: u32) {
        if let Ok(word) = self.index.word(offset) {
            word.store(value, Relaxed);
        }
    }

    fn full_barrier(&self) {
        virt_mb(Full);
    }
}

impl<P: Deref<Target = SharedPages>> DataRing<P> {
    /// A ring whose indexes all stand at zero.
    ///
    /// `event_index` says whether both ends have the feature of that name. Fails with `EINVAL` if
    /// the pages do not fit `order`.
    pub fn new(index: P, data: P, order: Order, end: End, event_index: bool) -> Result<Self> {
        if index.len() != indexes::LEN || data.len() != 2 * order.half_len() {
            return Err(EINVAL);
        }
        let input = (indexes::IN, 0);
        let output = (indexes::OUT, order.half_len());
        let ((rx, rx_base), (tx, tx_base)) = match end {
            End::Front => (input, output),
            End::Back => (output, input),
        };
        let size = order.half_size();
        // INVARIANT: The lengths were checked above.
        Ok(Self {
            index,
            data,
            size,
            event_index,
            rx: Consumer::new(rx, size, event_index),
            rx_base,
            tx: Producer::new(tx, size, event_index),
            tx_base,
        })
    }

    /// Has our indexes stand at zero again, for the next connection. Nobody uses the ring; those of
    /// the shared words that are ours are the frontend's to set.
    pub fn restart(&self) {
        self.rx.restart();
        self.tx.restart();
    }

    /// Makes the shared words those of a new ring. Frontend only.
    pub fn reset_words(&self) {
        for offset in (0..indexes::RING_ORDER).step_by(size_of::<u32>()) {
            self.store(offset, 0);
        }
        if self.event_index {
            for direction in [self.rx.direction(), self.tx.direction()] {
                self.store(direction.prod_event, indexes::FIRST_PROD_EVENT);
            }
        }
    }

    /// The indexes page.
    pub fn index_pages(&self) -> &P {
        &self.index
    }

    /// The data pages.
    pub fn data_pages(&self) -> &P {
        &self.data
    }

    /// Bytes that each direction holds.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The order of the ring.
    pub fn order(&self) -> Order {
        Order::for_size(self.size as usize)
    }

    /// Bytes that the peer has produced and we have not consumed. For the consumer only.
    pub fn readable(&self) -> Result<u32, Violation> {
        Ok(self.rx.ready(self)?.len)
    }

    /// Bytes that we may produce. For the producer only.
    pub fn writable(&self) -> Result<u32, Violation> {
        self.tx.room(self)
    }

    /// As [`readable`](Self::readable), for those who do not exclude the consumer.
    ///
    /// An index that makes no sense counts as a full ring: the consumer will find out.
    pub fn peek_readable(&self) -> u32 {
        self.rx.peek_ready(self)
    }

    /// As [`writable`](Self::writable), for those who do not exclude the producer.
    ///
    /// An index that makes no sense counts as an empty ring: the producer will find out.
    pub fn peek_writable(&self) -> u32 {
        self.tx.peek_room(self)
    }

    /// How the direction that we consume has ended, if it has.
    ///
    /// To be read before the bytes are looked at: what came before the end is then seen.
    pub fn rx_ending(&self) -> Ending {
        self.rx.ending(self)
    }

    /// How the direction that we produce has ended, if it has.
    pub fn tx_ending(&self) -> Ending {
        self.tx.ending(self)
    }

    /// How CONNECT or ACCEPT has ended, if it has. Frontend only.
    pub fn outcome(&self) -> Outcome {
        status::load(self)
    }

    /// The address that belongs to [`Outcome::Established`]. Frontend only, to be called once.
    pub fn outcome_name(&self) -> Result<SocketAddr, BadAddr> {
        status::name(self)
    }

    /// Says whether connections wait for which there is no ACCEPT, see [`indexes::WAITING`]. Backend
    /// only.
    pub fn set_waiting(&self, waits: bool) {
        self.store_release(indexes::WAITING, u32::from(waits));
    }

    /// Returns whether connections wait for which there is no ACCEPT. Frontend only.
    pub fn has_waiting(&self) -> bool {
        self.load_acquire(indexes::WAITING) != 0
    }

    /// Ends the direction that we consume. Backend only; notify after it.
    pub fn end_rx(&self, ending: Ending) {
        self.rx.end(self, ending);
    }

    /// Ends the direction that we produce, after the last byte. Backend only; notify after it.
    pub fn end_tx(&self, ending: Ending) {
        self.tx.end(self, ending);
    }

    /// Copies `len` readable bytes, from `skip` bytes past the first, without consuming them.
    ///
    /// Returns the number of bytes copied, fewer if the destination faults.
    pub fn copy_out(&self, skip: u32, len: u32, to: &mut IovIterDest<'_>) -> usize {
        let from = self.rx.index().wrapping_add(skip);
        let mut copied = 0;
        for span in spans(from, len, self.size) {
            let offset = self.rx_base + span.offset as usize;
            let n = self.data.copy_to_iter(offset, span.len as usize, to);
            copied += n;
            if n < span.len as usize {
                break;
            }
        }
        copied
    }

    /// Copies `len` bytes into the room for them, from `skip` bytes past its first, without producing
    /// them yet.
    ///
    /// Returns the number of bytes copied, fewer if the source faults.
    pub fn copy_in(&self, skip: u32, len: u32, from: &mut IovIterSource<'_>) -> usize {
        let to = self.tx.index().wrapping_add(skip);
        let mut copied = 0;
        for span in spans(to, len, self.size) {
            let offset = self.tx_base + span.offset as usize;
            let n = self.data.copy_from_iter(offset, span.len as usize, from);
            copied += n;
            if n < span.len as usize {
                break;
            }
        }
        copied
    }

    /// Copies readable bytes, from `skip` bytes past the first, without consuming them.
    pub fn read(&self, skip: u32, out: &mut [u8]) -> Result {
        let from = self.rx.index().wrapping_add(skip);
        let len = u32::try_from(out.len())?;
        let mut rest = out;
        for span in spans(from, len, self.size) {
            let (piece, after) = rest.split_at_mut_checked(span.len as usize).ok_or(EINVAL)?;
            self.data.read(self.rx_base + span.offset as usize, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// Copies bytes into the room for them, from `skip` bytes past its first, without producing them
    /// yet.
    pub fn write(&self, skip: u32, bytes: &[u8]) -> Result {
        let to = self.tx.index().wrapping_add(skip);
        let len = u32::try_from(bytes.len())?;
        let mut rest = bytes;
        for span in spans(to, len, self.size) {
            let (piece, after) = rest.split_at_checked(span.len as usize).ok_or(EINVAL)?;
            self.data
                .write(self.tx_base + span.offset as usize, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// One of the bytes that were copied into the room, `skip` bytes past its first, and not produced
    /// yet: as it is now.
    pub fn written(&self, skip: u32) -> Result<u8> {
        let at = self.tx.index().wrapping_add(skip);
        let [span, _] = spans(at, 1, self.size);
        let mut byte = [0];
        self.data
            .read(self.tx_base + span.offset as usize, &mut byte)?;
        Ok(byte[0])
    }

    /// `len` readable bytes, from `skip` bytes past the first, for a socket to send: the first of
    /// them, if there are more than [`BioVecs::MAX`] pages.
    pub fn readable_bvecs(&self, skip: u32, len: u32) -> BioVecs<'_> {
        self.bvecs(self.rx_base, self.rx.index().wrapping_add(skip), len)
    }

    /// The room for `len` bytes, from `skip` bytes past its first, for a socket to receive into: the
    /// first of it, if there are more than [`BioVecs::MAX`] pages.
    pub fn writable_bvecs(&self, skip: u32, len: u32) -> BioVecs<'_> {
        self.bvecs(self.tx_base, self.tx.index().wrapping_add(skip), len)
    }

    fn bvecs(&self, base: usize, index: u32, len: u32) -> BioVecs<'_> {
        let mut vecs = BioVecs::new();
        for span in spans(index, len, self.size) {
            if !self
                .data
                .extend_bvecs(&mut vecs, base + span.offset as usize, span.len as usize)
            {
                break;
            }
        }
        vecs
    }

    /// Gives `n` consumed bytes back to the peer. Returns whether to notify it.
    #[must_use]
    pub fn consume(&self, n: u32) -> bool {
        self.rx.consume(self, n)
    }

    /// Gives `n` produced bytes to the peer. Returns whether to notify it.
    #[must_use]
    pub fn produce(&self, n: u32) -> bool {
        self.tx.publish(self, n)
    }

    /// Asks to be notified of the next byte that comes.
    ///
    /// Returns the peer's index up to which there is something already. Those who ask exclude each
    /// other; who asks must look again afterwards.
    pub fn expect_data(&self) -> u32 {
        self.rx.expect_more(self)
    }

    /// The peer's index up to which there is something to read, to be compared with that of
    /// [`expect_data`](Self::expect_data).
    pub fn arrived(&self) -> u32 {
        self.load(self.rx.direction().prod)
    }

    /// Our index up to which we have consumed.
    pub fn consumed(&self) -> u32 {
        self.rx.index()
    }

    /// Our index up to which we have produced, to be compared with [`taken`](Self::taken).
    pub fn produced(&self) -> u32 {
        self.tx.index()
    }

    /// The peer's index up to which it has taken what we produced.
    pub fn taken(&self) -> u32 {
        self.load(self.tx.direction().cons)
    }

    /// Asks to be notified once there is room for `wanted` bytes.
    ///
    /// Those who ask exclude each other; who asks must look again afterwards. If more is produced
    /// after this, the notification comes too early: who is notified and does not find the room has
    /// to ask again.
    pub fn expect_room(&self, wanted: u32) {
        self.tx.expect_room(self, wanted);
    }
}
