/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/tpm-watch.h"

#include <errno.h>

#include "base/log.h"
#include "platform/fiber.h"

#define TICK     (5 * USEC_PER_SEC) /* while it is away it is asked at each */
#define WELL_FOR USEC_PER_MIN       /* otherwise when this has passed */

struct TpmWatch {
        Gateway *gateway;
        LoopSource *timer;
        usec_t asked; /* CLOCK_BOOTTIME */
        bool busy;    /* a fiber asks */
        bool gone;    /* freed meanwhile: the fiber does it at its end */
};

static void destroy(TpmWatch *w)
{
        loop_source_free(w->timer);
        free(w);
}

static void ask(void *userdata)
{
        TpmWatch *w = userdata;
        Reason ignored; /* the identity has logged it */
        identity_probe(w->gateway->identity, &ignored);
        w->busy = false;
        if (w->gone)
                destroy(w);
}

static int on_timer(void *userdata)
{
        TpmWatch *w = userdata;
        const Identity *id = w->gateway->identity;
        usec_t now = now_boottime();
        bool due = identity_health(id)->away || now >= w->asked + WELL_FOR;
        /* Whoever uses it finds out by himself. */
        if (due && !w->busy && !identity_busy(id)) {
                w->asked = now;
                w->busy = true;
                if (fiber_spawn(ask, w) < 0)
                        w->busy = false;
        }
        return loop_timer_arm_relative(w->timer, TICK);
}

int tpm_watch_new(Gateway *g, TpmWatch **ret)
{
        _cleanup_(tpm_watch_freep) TpmWatch *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->gateway = g;
        w->asked = now_boottime();
        int r = loop_add_timer(g->loop, &w->timer, LOOP_FATAL, on_timer, w);
        if (r >= 0)
                r = loop_timer_arm_relative(w->timer, TICK);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

TpmWatch *tpm_watch_free(TpmWatch *w)
{
        if (!w)
                return NULL;
        w->gone = true;
        if (!w->busy)
                destroy(w);
        return NULL;
}
