// SPDX-License-Identifier: GPL-2.0

//! The slots of a shared channel: which ring has which.

use crate::proto::news::{
    self,
    Slot,
    GROUPS, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    xen::event::Eoi, //
};

/// The number of slots in one word of bits.
const GROUP: usize = news::SLOTS / GROUPS;

/// Receives the news of a ring.
pub(crate) trait Bell: Send + Sync {
    /// Makes the user of the ring look at it. Any context. After [`Eoi::Later`], the user calls
    /// [`note_look`](super::SharedChannel::note_look) once.
    fn ring(&self) -> Eoi;
}

/// The bells of the slots of one word.
pub(super) struct BellGroup {
    bells: [Option<Arc<dyn Bell>>; GROUP],
    count: usize,
}

impl BellGroup {
    /// Creates a group without bells. May sleep.
    pub(super) fn new() -> Result<KBox<Self>> {
        let group = Self {
            bells: [const { None }; GROUP],
            count: 0,
        };
        Ok(KBox::new(group, GFP_KERNEL)?)
    }
}

/// The bells of all slots.
pub(super) struct Slots(KVec<Option<KBox<BellGroup>>>);

impl Slots {
    pub(super) fn new() -> Result<Self> {
        let mut groups = KVec::with_capacity(GROUPS, GFP_KERNEL)?;
        for _ in 0..GROUPS {
            groups.push(None, GFP_KERNEL)?;
        }
        Ok(Self(groups))
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<dyn Bell>> {
        let group = self.0.get(slot.group())?.as_ref()?;
        group.bells.get(slot.bit())?.as_ref()
    }

    /// Returns the lowest free slot.
    fn first_free(&self) -> Option<Slot> {
        self.0.iter().enumerate().find_map(|(i, group)| {
            let bit = match group {
                None => 0,
                Some(group) if group.count == GROUP => return None,
                Some(group) => group.bells.iter().position(Option::is_none)?,
            };
            Slot::of(i, bit)
        })
    }

    /// Returns the group of a slot. If there is none, `spare` becomes that group. [`None`] if there
    /// is no spare one either.
    fn group(&mut self, slot: Slot, spare: &mut Option<KBox<BellGroup>>) -> Option<&mut BellGroup> {
        let group = self.0.get_mut(slot.group())?;
        if group.is_none() {
            *group = spare.take();
        }
        group.as_deref_mut()
    }

    /// Gives a slot to `bell`: the `wanted` one, or the lowest free one. [`None`] if there has to be
    /// a `spare` group for it. `EINVAL` if the wanted slot is in use, `ENOBUFS` if all are.
    pub(super) fn add(
        &mut self,
        wanted: Option<Slot>,
        bell: &Arc<dyn Bell>,
        spare: &mut Option<KBox<BellGroup>>,
    ) -> Result<Option<Slot>> {
        let slot = wanted.or_else(|| self.first_free()).ok_or(ENOBUFS)?;
        let Some(group) = self.group(slot, spare) else {
            return Ok(None);
        };
        let place = group.bells.get_mut(slot.bit()).ok_or(EINVAL)?;
        if place.is_some() {
            return Err(EINVAL);
        }
        *place = Some(bell.clone());
        // OVERFLOW: There are that many places.
        group.count += 1;
        Ok(Some(slot))
    }

    /// Returns the groups with slots in use.
    pub(super) fn used_groups(&self) -> impl Iterator<Item = usize> + '_ {
        let groups = self.0.iter().enumerate();
        groups.filter_map(|(i, group)| (group.as_ref()?.count > 0).then_some(i))
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<dyn Bell>> {
        let group = self.group(slot, &mut None)?;
        let bell = group.bells.get_mut(slot.bit())?.take()?;
        // OVERFLOW: It was counted.
        group.count -= 1;
        Some(bell)
    }
}
