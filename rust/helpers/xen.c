// SPDX-License-Identifier: GPL-2.0

#ifdef CONFIG_RUST_XEN_ABSTRACTIONS

#include <linux/mm.h>
#include <asm/sync_bitops.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

__rust_helper bool rust_helper_xen_domain(void)
{
	return xen_domain();
}

__rust_helper void *rust_helper_page_address(const struct page *page)
{
	return page_address(page);
}

__rust_helper void rust_helper_get_page(struct page *page)
{
	get_page(page);
}

__rust_helper bool
rust_helper_sync_test_and_set_bit(long nr, unsigned long *addr)
{
	return sync_test_and_set_bit(nr, addr);
}

__rust_helper int rust_helper_HYPERVISOR_event_channel_op(int cmd, void *arg)
{
	return HYPERVISOR_event_channel_op(cmd, arg);
}

__rust_helper unsigned long rust_helper_virt_to_gfn(const void *addr)
{
	return virt_to_gfn(addr);
}

__rust_helper void
rust_helper_gnttab_set_map_op(struct gnttab_map_grant_ref *map,
			      phys_addr_t addr, uint32_t flags,
			      grant_ref_t ref, domid_t domid)
{
	gnttab_set_map_op(map, addr, flags, ref, domid);
}

__rust_helper void
rust_helper_gnttab_set_unmap_op(struct gnttab_unmap_grant_ref *unmap,
				phys_addr_t addr, uint32_t flags,
				grant_handle_t handle)
{
	gnttab_set_unmap_op(unmap, addr, flags, handle);
}

#endif
