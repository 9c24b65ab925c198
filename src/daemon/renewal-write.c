/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of a candidate goes to the disk on a fiber; it begins and ends on the loop's own
 * stack, from where other fibers may be started. */
#include "daemon/renewal-internal.h"

#include <errno.h>
#include <stdio.h>

#include "platform/fiber.h"

static int perform(Renewal *r)
{
        switch (r->task) {
        case RENEWAL_SAVE:
                return identity_candidate_save(r->candidate, &r->said);
        case RENEWAL_PROMOTE:
                return identity_candidate_promote(r->candidate, &r->said);
        case RENEWAL_REFUSE:
                return identity_candidate_refuse(r->candidate, r->why, &r->said);
        case RENEWAL_ADOPT:
                return identity_candidate_adopt(r->gateway->identity, renewal_must_certify(r),
                                                &r->found, &r->said);
        case RENEWAL_NOTHING:
                break;
        }
        return 0;
}

static void write_on_fiber(void *userdata)
{
        Renewal *r = userdata;
        r->outcome = perform(r);
        r->written = true;
        loop_defer(r->turn);
}

/* Without memory for a stack the daemon starts afresh: the files tell where it was. */
static int on_turn(void *userdata)
{
        Renewal *r = userdata;
        RenewalTask task = r->task;
        if (task == RENEWAL_NOTHING)
                return 0;
        if (!r->written)
                return fiber_spawn(write_on_fiber, r);
        r->task = RENEWAL_NOTHING;
        renewal_written(r, task);
        return 0;
}

int renewal_write_init(Renewal *r)
{
        return loop_add_deferred(r->gateway->loop, &r->turn, LOOP_FATAL, on_turn, r);
}

void renewal_write(Renewal *r, RenewalTask task, const char *why)
{
        r->task = task;
        r->written = false;
        snprintf(r->why, sizeof(r->why), "%.*s", (int)sizeof(r->why) - 1, why);
        loop_defer(r->turn);
}
