// SPDX-License-Identifier: GPL-2.0

//! A data ring, from the point of view of one end.
//!
//! The ring consists of an indexes page and the memory of two directions, see "Data ring" in
//! `Documentation/networking/xensock/protocol.rst`. Each end produces into one direction and
//! consumes from the other. A direction has a base, and may have a larger extension, which is used
//! instead of the base. The peer may write to any of this memory at any time. Therefore
//!
//! - our own two indexes are in private memory, and are only ever published from there;
//! - the peer's index is read once for each decision, and checked: it can never make us touch bytes
//!   outside the memory of the direction, or more bytes than that holds;
//! - bytes are copied directly between the pages and the caller's buffers.
//!
//! Each direction has one user at a time, which moves its index. The owner of the ring chooses this
//! user: the holder of a mutex in the frontend, a work item in the backend. All other tasks may
//! only look: see [`DataRing::peek_readable`].
//!
//! Nothing here sleeps, apart from copies from and to the memory of a program, which may fault.

#[path = "ring/copy.rs"]
mod copy;
#[path = "ring/pages.rs"]
mod pages;
#[path = "ring/resize.rs"]
mod resize;

use crate::proto::{
    addr::BadAddr,
    errno::Ending,
    indexes,
    ring::{
        Order,
        Violation, //
    },
    status::{
        self,
        Outcome, //
    },
    stream::{
        Consumer,
        PrivateWord,
        Producer,
        SharedWords, //
    },
    Feature,
    Features, //
};
use core::{
    net::SocketAddr,
    ops::Deref, //
};
use kernel::{
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
        },
        Arc, //
    },
    xen::shared::SharedPages, //
};
use pages::Pages;
pub(crate) use resize::TakenExtension;

/// The end of a ring.
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
/// - The base of each direction has as many bytes as `order` says, an extension is larger, and
///   `index` is one page.
/// - While this end uses an extension, the extension is there.
#[pin_data]
pub struct DataRing<P: Deref<Target = SharedPages>> {
    index: P,
    end: End,
    order: Order,
    event_index: bool,
    rx: Consumer<Atomic<u32>>,
    #[pin]
    rx_pages: Pages<P>,
    tx: Producer<Atomic<u32>>,
    #[pin]
    tx_pages: Pages<P>,
}

impl PrivateWord for Atomic<u32> {
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

impl<P: Deref<Target = SharedPages>> SharedWords for DataRing<P> {
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
    /// Creates a ring whose indexes are all zero. `input` and `output` are the memory of its
    /// directions.
    ///
    /// Fails with `EINVAL` if the pages do not form a ring.
    pub fn new(
        index: P,
        input: P,
        output: P,
        end: End,
        features: Features,
    ) -> Result<impl PinInit<Self>> {
        let order = Order::for_size(input.len());
        if index.len() != indexes::LEN
            || input.len() != order.half_len()
            || output.len() != order.half_len()
        {
            return Err(EINVAL);
        }
        let ((rx, rx_base), (tx, tx_base)) = match end {
            End::Front => ((indexes::IN, input), (indexes::OUT, output)),
            End::Back => ((indexes::OUT, output), (indexes::IN, input)),
        };
        let size = order.half_size();
        // INVARIANT: The lengths were checked above, and there is no extension.
        Ok(pin_init!(Self {
            index,
            end,
            order,
            event_index: features.has(Feature::EventIndex),
            rx: Consumer::new(rx, size, features),
            rx_pages <- Pages::new(rx_base),
            tx: Producer::new(tx, size, features),
            tx_pages <- Pages::new(tx_base),
        }))
    }

    /// Resets our indexes to zero and removes the extensions, for the next connection. The caller
    /// ensures that the ring is not in use. The frontend resets the shared words, including ours.
    /// Process context.
    pub fn restart(&self) {
        self.rx.restart();
        self.tx.restart();
        for pages in [&self.rx_pages, &self.tx_pages] {
            let extension = pages.extension.lock().take();
            // Outside the lock.
            drop(extension);
        }
    }

    /// Resets the shared words to those of a new ring. Frontend only.
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

    /// Returns the indexes page.
    pub fn index_pages(&self) -> &P {
        &self.index
    }

    /// Returns the bases of the directions.
    pub fn bases(&self) -> [&P; 2] {
        [&self.rx_pages.base, &self.tx_pages.base]
    }

    /// Returns the extensions of the directions, if there are any.
    pub fn extensions(&self) -> [Option<Arc<P>>; 2] {
        [self.rx_pages.extension(), self.tx_pages.extension()]
    }

    /// Returns the number of bytes of the memory that we consume from.
    pub fn rx_size(&self) -> u32 {
        self.rx.size()
    }

    /// Returns the number of bytes of the largest memory that the peer can produce into.
    pub fn largest_rx_size(&self) -> u32 {
        self.rx.largest()
    }

    /// Returns the number of bytes of the memory that we produce into.
    pub fn tx_size(&self) -> u32 {
        self.tx.size()
    }

    /// Returns the order of the ring, without extensions.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the number of bytes that the peer has produced and we have not consumed. For the
    /// consumer only.
    pub fn readable(&self) -> Result<u32, Violation> {
        Ok(self.rx.ready(self)?.len)
    }

    /// Returns the number of bytes that we may produce. For the producer only.
    pub fn writable(&self) -> Result<u32, Violation> {
        self.tx.room(self)
    }

    /// Returns the number of readable bytes. If there are none, asks for an event with the next one
    /// first, so that none is missed.
    pub fn readable_or_ask(&self) -> Result<u32, Violation> {
        match self.readable()? {
            0 => {
                self.expect_data();
                self.readable()
            }
            len => Ok(len),
        }
    }

    /// Returns the number of writable bytes. If there are none, asks for an event when a quarter of
    /// the ring is free first, so that none is missed.
    pub fn writable_or_ask(&self) -> Result<u32, Violation> {
        match self.writable()? {
            0 => {
                self.expect_room(self.tx_size() / 4);
                self.writable()
            }
            room => Ok(room),
        }
    }

    /// As [`readable`](Self::readable), for callers that do not exclude the consumer.
    ///
    /// An impossible index counts as a full ring: the consumer will find the violation.
    pub fn peek_readable(&self) -> u32 {
        self.rx.peek_ready(self)
    }

    /// As [`writable`](Self::writable), for callers that do not exclude the producer.
    ///
    /// An impossible index counts as an empty ring: the producer will find the violation.
    pub fn peek_writable(&self) -> u32 {
        self.tx.peek_room(self)
    }

    /// Returns the number of bytes that we have produced and the peer has not consumed, for callers
    /// that do not exclude the producer.
    pub fn peek_queued(&self) -> u32 {
        self.tx.peek_queued(self)
    }

    /// Returns the ending of the direction that we consume.
    ///
    /// To be read before the bytes are looked at: then no byte before the end is missed.
    pub fn rx_ending(&self) -> Ending {
        self.rx.ending(self)
    }

    /// Returns the ending of the direction that we produce.
    pub fn tx_ending(&self) -> Ending {
        self.tx.ending(self)
    }

    /// Returns the outcome of CONNECT or ACCEPT, if there is one yet. Frontend only.
    pub fn outcome(&self) -> Outcome {
        status::load(self)
    }

    /// Returns the address that belongs to [`Outcome::Established`]. Frontend only, to be called
    /// once.
    pub fn outcome_name(&self) -> Result<SocketAddr, BadAddr> {
        status::name(self)
    }

    /// Shows if connections wait that have no ACCEPT, see [`indexes::WAITING`]. Backend only.
    pub fn set_waiting(&self, waits: bool) {
        self.store_release(indexes::WAITING, u32::from(waits));
    }

    /// Returns `true` if connections wait that have no ACCEPT. Frontend only.
    pub fn has_waiting(&self) -> bool {
        self.load_acquire(indexes::WAITING) != 0
    }

    /// Ends the direction that we consume. Backend only; the caller has to notify the peer
    /// afterwards.
    pub fn end_rx(&self, ending: Ending) {
        self.rx.end(self, ending);
    }

    /// Ends the direction that we produce, after the last byte. Backend only; the caller has to
    /// notify the peer afterwards.
    pub fn end_tx(&self, ending: Ending) {
        self.tx.end(self, ending);
    }

    /// Gives the room of `n` consumed bytes back to the peer. Returns `true` if the peer has to be
    /// notified.
    #[must_use]
    pub fn consume(&self, n: u32) -> bool {
        self.rx.consume(self, n)
    }

    /// Gives `n` produced bytes to the peer. Returns `true` if the peer has to be notified.
    #[must_use]
    pub fn produce(&self, n: u32) -> bool {
        self.tx.publish(self, n)
    }

    /// Asks to be notified of the next byte that arrives, whichever byte that is by now.
    ///
    /// Returns the peer's index, up to which bytes have already arrived. Callers exclude each
    /// other, and must look again afterwards.
    pub fn expect_data(&self) -> u32 {
        self.rx.expect_more(self)
    }

    /// Asks not to be notified of bytes that arrive, until the next call of
    /// [`expect_data`](Self::expect_data). Callers of both exclude each other.
    pub fn expect_nothing(&self) {
        self.rx.expect_nothing(self);
    }

    /// Returns the peer's index up to which bytes have arrived, to be compared with the index from
    /// [`expect_data`](Self::expect_data).
    pub fn arrived(&self) -> u32 {
        self.load(self.rx.direction().prod)
    }

    /// Returns our index up to which we have consumed.
    pub fn consumed(&self) -> u32 {
        self.rx.index()
    }

    /// Returns our index up to which we have produced, to be compared with [`taken`](Self::taken).
    pub fn produced(&self) -> u32 {
        self.tx.index()
    }

    /// Returns the peer's index up to which it has consumed what we produced.
    pub fn taken(&self) -> u32 {
        self.load(self.tx.direction().cons)
    }

    /// Asks to be notified once there is room for `wanted` bytes.
    ///
    /// Callers exclude each other, and must look again afterwards. If more bytes are produced after
    /// this call, the notification comes too early: a task that is notified and does not find the
    /// room has to ask again.
    pub fn expect_room(&self, wanted: u32) {
        self.tx.expect_room(self, wanted);
    }

    /// Asks to be notified once the peer has taken all that was produced. As
    /// [`expect_room`](Self::expect_room).
    pub fn expect_all_taken(&self) {
        self.tx.expect_all_taken(self);
    }

    /// Asks to be notified of the next byte that the peer takes, unless it has taken all. Those who
    /// ask exclude each other, and look again afterwards.
    pub fn expect_taken(&self) {
        self.tx.expect_taken(self);
    }
}
