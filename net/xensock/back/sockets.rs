// SPDX-License-Identifier: GPL-2.0

//! Counts of a guest's sockets.

use crate::{
    backlog::{
        UserWaiting,
        Waiting, //
    },
    keeper::Keeper,
    memory::{
        GuestMemory,
        GuestTallies,
        UserMemory,
        TCP,
        UDP, //
    },
    quota::{
        Charge,
        Quota, //
    },
    recount::Recounter, //
};
use kernel::{
    net::kernel_socket::{
        KernelSocket,
        Protocol,
        Tally,
        TallyPlace,
        Tcp,
        Udp, //
    },
    prelude::*,
    sync::{
        Arc,
        GlobalArc, //
    }, //
};

/// The sockets of all guests, including closed sockets that are not freed yet.
static ALL_GUESTS: GlobalArc<Tally> = GlobalArc::new();

/// Creates the count of the sockets of all guests. May sleep.
pub(crate) fn keep() -> Result<Keeper<Tally>> {
    let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
    Ok(Keeper::new(&ALL_GUESTS, tally))
}

/// The sockets of a guest, over all its links.
pub(crate) struct Sockets {
    /// All sockets, including closed sockets that are not freed yet.
    all: Arc<Tally>,
    open: Arc<Quota>,
    /// The groups that the sockets are in.
    pub(crate) groups: Arc<Quota>,
    /// The memory of TCP that they hold.
    pub(crate) memory: Arc<GuestMemory>,
    /// Counts that of the connections again.
    pub(crate) recounter: Arc<Recounter>,
    /// The memory of UDP that they hold.
    pub(crate) datagrams: Arc<GuestMemory>,
    /// The connections that wait to be accepted.
    pub(crate) waiting: Arc<Waiting>,
}

impl Sockets {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let of_all_guests = ALL_GUESTS.get().ok_or(ENODEV)?;
        let all = Arc::new(Tally::part_of(&of_all_guests), GFP_KERNEL)?;
        let open = Quota::new()?;
        let tallies = GuestTallies {
            sockets: all.clone(),
            of_all_guests,
        };
        let memory = GuestMemory::new(&TCP, tallies.clone())?;
        let datagrams = GuestMemory::new(&UDP, tallies)?;
        let groups = Quota::new()?;
        let sockets = Self {
            all,
            open,
            groups,
            memory,
            recounter: Recounter::new()?,
            datagrams,
            waiting: Waiting::new()?,
        };
        Ok(Arc::new(sockets, GFP_KERNEL)?)
    }

    /// Counts a socket of a user: as open until the result is dropped, and then as closed until it is
    /// freed.
    pub(crate) fn enter<P: Protocol>(
        &self,
        socket: &mut KernelSocket<P>,
        user: &UserSockets,
    ) -> Result<Charge> {
        Ok(self.enter_in(user.place()?, socket))
    }

    /// As [`Self::enter`], in a place of [`UserSockets::place`].
    pub(crate) fn enter_in<P: Protocol>(
        &self,
        place: TallyPlace,
        socket: &mut KernelSocket<P>,
    ) -> Charge {
        socket.count_as(place);
        self.open.take(1)
    }

    /// Returns the count of open sockets.
    pub(crate) fn open(&self) -> &Quota {
        &self.open
    }

    /// Returns the number of sockets, open and closed, if there are so many open ones and places for
    /// sockets.
    pub(crate) fn with_places(&self, open: usize) -> usize {
        with_places(&self.all, open)
    }

    /// Returns the number of closed sockets that TCP still needs.
    pub(crate) fn closed(&self) -> usize {
        self.all.closed::<Tcp>()
    }
}

/// Returns the number of sockets, open and closed, if there are so many open ones and places for
/// sockets.
fn with_places(tally: &Tally, open: usize) -> usize {
    let closed = tally.closed::<Tcp>() + tally.closed::<Udp>();
    tally.count().max(open + closed)
}

/// The sockets of one user of a guest.
pub(crate) struct UserSockets {
    all: Arc<Tally>,
    /// The entries in the table, including those without a TCP or UDP socket.
    pub(crate) entries: Arc<Quota>,
    /// The listening sockets.
    pub(crate) listeners: Arc<Quota>,
    /// The pages mapped for their data rings.
    pub(crate) pages: Arc<Quota>,
    /// The groups that they are in.
    pub(crate) groups: Arc<Quota>,
    /// The memory of TCP that they hold.
    pub(crate) memory: Arc<UserMemory>,
    /// The memory of UDP that they hold.
    pub(crate) datagrams: Arc<UserMemory>,
    /// The connections that wait at them to be accepted.
    pub(crate) waiting: Arc<UserWaiting>,
}

impl UserSockets {
    /// Creates the counts of the user with that number.
    pub(crate) fn new(number: u64, sockets: &Sockets) -> Result<Arc<Self>> {
        let all = Arc::new(Tally::part_of(&sockets.all), GFP_KERNEL)?;
        let recounter = Some(sockets.recounter.clone());
        let user = Self {
            memory: UserMemory::new(number, &sockets.memory, &all, recounter)?,
            datagrams: UserMemory::new(number, &sockets.datagrams, &all, None)?,
            waiting: UserWaiting::new(number, &sockets.waiting)?,
            all,
            entries: Quota::new()?,
            listeners: Quota::new()?,
            pages: Quota::new()?,
            groups: Quota::new()?,
        };
        Ok(Arc::new(user, GFP_KERNEL)?)
    }

    /// Takes the memory that it takes to count another socket, which is counted from now on.
    pub(crate) fn place(&self) -> Result<TallyPlace> {
        self.all.place()
    }

    /// Returns the number of sockets, open and closed, and of places for sockets.
    pub(crate) fn count(&self) -> usize {
        with_places(&self.all, self.entries.used())
    }

    /// Returns the number of closed sockets that TCP still needs.
    pub(crate) fn closed(&self) -> usize {
        self.all.closed::<Tcp>()
    }
}
