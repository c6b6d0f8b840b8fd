// SPDX-License-Identifier: GPL-2.0

#include <linux/bottom_half.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/thread_info.h>

__rust_helper void rust_helper_preempt_disable(void)
{
	preempt_disable();
}

__rust_helper void rust_helper_preempt_enable(void)
{
	preempt_enable();
}

__rust_helper void rust_helper_local_bh_disable(void)
{
	local_bh_disable();
}

__rust_helper void rust_helper_local_bh_enable(void)
{
	local_bh_enable();
}

__rust_helper bool rust_helper_need_resched(void)
{
	return need_resched();
}

__rust_helper bool rust_helper_need_resched_lazy(void)
{
	return tif_test_bit(TIF_NEED_RESCHED_LAZY);
}

__rust_helper void rust_helper_set_current_state(unsigned int state)
{
	set_current_state(state);
}
