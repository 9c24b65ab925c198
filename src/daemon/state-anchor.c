/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/state-anchor.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/trusted.h"
#include "platform/anchor.h"
#include "platform/fiber.h"

#define INTERVAL (6 * USEC_PER_HOUR) /* some 15,000 increments in ten years */
#define RETRY    (10 * USEC_PER_MIN)

/* What is noted, and what it means when it is not as it was. */
enum {
        STORE_FILE,  /* which store it is */
        LAST_RECORD, /* the highest that it ever had */
        REVOKED,     /* how often the file of who is revoked was written */
        LIST,        /* when the fetched revocation list was made */
        THINGS,
};

static const struct {
        const char *name;
        bool may_grow, may_vanish;
        const char *otherwise;
} things[THINGS] = {
        [STORE_FILE] = { "store", false, false,
                         "the store is another one than this gateway left: it was replaced, "
                         "removed or damaged" },
        [LAST_RECORD] = { "store-last-record", true, false, "the store is an older copy" },
        [REVOKED] = { "revoked", true, false,
                      "the file of who is revoked is an older copy, or is gone" },
        [LIST] = { "revocation-list", true, true, "the fetched revocation list is an older copy" },
};

struct StateAnchor {
        Gateway *gateway;
        Anchor *anchor;
        LoopSource *timer;
        bool busy;            /* a fiber looks or notes */
        bool again;           /* once more, then */
        bool looked;          /* at what was left; before that nothing is noted over it */
        AnchorMarks at_start; /* what there was */
        bool replaced;        /* what was found at the start is not what was left */
        Reason found;         /* a sentence on that */
        Reason failed;        /* why the last note could not be taken, or "" */
};

static void take_marks(const StateAnchor *a, AnchorMarks *ret)
{
        const Gateway *g = a->gateway;
        StoreStats store;
        TrustFacts trust;
        store_stats(g->store, &store);
        trust_facts(trusted_now(g->trusted), now_realtime(), &trust);
        const uint64_t values[THINGS] = {
                [STORE_FILE] = store_epoch(g->store),
                [LAST_RECORD] = store.last_id,
                [REVOKED] = g->revoked_generation,
                [LIST] = trust.fetched,
        };
        *ret = (AnchorMarks){ .n = THINGS };
        for (size_t i = 0; i < THINGS; i++) {
                snprintf(ret->marks[i].name, sizeof(ret->marks[i].name), "%s", things[i].name);
                ret->marks[i].value = values[i];
        }
}

/* What is there against a genuine note. */
static bool anything_replaced(StateAnchor *a, const AnchorMarks *noted)
{
        for (size_t i = 0; i < THINGS; i++) {
                const AnchorMark *was = anchor_find(noted, things[i].name);
                uint64_t is = a->at_start.marks[i].value;
                if (!was || is == was->value || (things[i].may_grow && is > was->value) ||
                    (things[i].may_vanish && is == 0))
                        continue;
                reason_set(&a->found, 0, "%s", things[i].otherwise);
                return true;
        }
        return false;
}

static void judge(StateAnchor *a, AnchorState state, const AnchorMarks *noted)
{
        switch (state) {
        case ANCHOR_NEW:
                reason_set(&a->found, 0, "noted for the first time");
                break;
        case ANCHOR_CURRENT:
                a->replaced = anything_replaced(a, noted);
                if (!a->replaced)
                        reason_set(&a->found, 0, "as it was left");
                break;
        case ANCHOR_MISSING:
                a->replaced = true;
                reason_set(&a->found, 0,
                           "anchor.json is gone: whether the rest was replaced is not "
                           "known");
                break;
        case ANCHOR_OLDER:
                a->replaced = true;
                reason_set(&a->found, 0, "anchor.json is an older copy, and so may be the rest");
                break;
        case ANCHOR_FORGED:
                a->replaced = true;
                reason_set(&a->found, 0, "anchor.json is damaged, or of another gateway");
                break;
        case _ANCHOR_STATE_MAX:
                break;
        }
}

/* With the messages themselves: the one who replaced them does not choose what is said of it. */
static void tell_upstream(const StateAnchor *a)
{
        json_t *event = json_pack("{s:s, s:s}", "event", "state-replaced", "reason", a->found.text);
        _cleanup_free_ char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
        json_decref(event);
        const StoreRecord record = {
                .kind = STORE_AUDIT,
                .device = "",
                .topic = "audit",
                .content_type = "application/json",
                .posture = "",
                .received = now_realtime(),
                .payload = text ? bytes_from_str(text) : BYTES(NULL, 0),
        };
        int r = text ? store_append(a->gateway->store, &record, NULL, NULL, NULL) : -ENOMEM;
        if (r < 0)
                log_warning_errno(r, "Cannot tell upstream of it, ignoring");
}

static void announce(const StateAnchor *a)
{
        if (!a->replaced)
                return;
        log_message(LOG_ALERT, LOG_FIELDS({ "REASON", "state-replaced" }),
                    "What this gateway keeps on its disk was changed while it did not run: %s. "
                    "Messages may be missing, or may come a second time",
                    a->found.text);
        tell_upstream(a);
}

/* Said once, and kept for the status until it goes. */
static void note_failure(StateAnchor *a, const char *what, const Reason *reason)
{
        if (!streq(reason->text, a->failed.text))
                log_message(LOG_WARNING, LOG_FIELDS({ "REASON", "anchor" }), "%s, trying again: %s",
                            what, reason->text);
        a->failed = *reason;
}

static int read_anchor(StateAnchor *a, AnchorState *ret_state, AnchorMarks *ret, Reason *reason)
{
        const Gateway *g = a->gateway;
        _cleanup_free_ char *path = NULL;
        if (asprintf(&path, "%s/identity/anchor.json", g->settings->state_directory) < 0) {
                path = NULL;
                return reason_set(reason, -ENOMEM, "Out of memory");
        }
        int r = a->anchor ? 0 : anchor_new(g->identity, g->loop, path, &a->anchor, reason);
        return r < 0 ? r : anchor_read(a->anchor, ret_state, ret, reason);
}

/* What the gateway cannot read it says, and it goes on: this is a notice, not a gate. */
static int look(StateAnchor *a)
{
        AnchorState state;
        AnchorMarks noted;
        Reason reason = { "" };
        int r = read_anchor(a, &state, &noted, &reason);
        if (r < 0) {
                note_failure(a, "Whether the disk is as it was left is not known", &reason);
                return r;
        }
        a->looked = true;
        judge(a, state, &noted);
        announce(a);
        return 0;
}

static int note(StateAnchor *a)
{
        AnchorMarks marks;
        Reason reason = { "" };
        int r = a->looked ? 0 : look(a);
        if (r < 0)
                return r;
        take_marks(a, &marks);
        r = anchor_write(a->anchor, &marks, &reason);
        if (r < 0)
                note_failure(a, "Cannot note the state of the disk", &reason);
        else
                a->failed = (Reason){ "" };
        return r;
}

static void arm(StateAnchor *a, usec_t pause)
{
        int r = loop_timer_arm_relative(a->timer, pause);
        if (r < 0)
                log_warning_errno(r, "The state of the disk is not noted again, ignoring");
}

static void note_on_fiber(void *userdata)
{
        StateAnchor *a = userdata;
        int r;
        do {
                a->again = false;
                r = note(a);
        } while (a->again);
        a->busy = false;
        arm(a, r < 0 ? RETRY : INTERVAL);
}

void state_anchor_note(StateAnchor *a)
{
        if (!a)
                return;
        a->again = a->busy; /* what is noted now may be older already */
        if (a->busy)
                return;
        a->busy = true;
        if (fiber_spawn(note_on_fiber, a) < 0) {
                a->busy = false;
                arm(a, RETRY);
        }
}

static int on_timer(void *userdata)
{
        state_anchor_note(userdata);
        return 0;
}

int state_anchor_new(Gateway *g, StateAnchor **ret)
{
        _cleanup_(state_anchor_freep) StateAnchor *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->gateway = g;
        take_marks(a, &a->at_start);
        int noted = note(a);
        int r = loop_add_timer(g->loop, &a->timer, LOOP_FATAL, on_timer, a);
        if (r >= 0)
                r = loop_timer_arm_relative(a->timer, noted < 0 ? RETRY : INTERVAL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

StateAnchor *state_anchor_free(StateAnchor *a)
{
        if (!a)
                return NULL;
        loop_source_free(a->timer);
        anchor_free(a->anchor);
        free(a);
        return NULL;
}

bool state_anchor_busy(const StateAnchor *a)
{
        return a && a->busy;
}

json_t *state_anchor_status(const StateAnchor *a)
{
        return json_pack("{s:b, s:s, s:s*}", "replaced", a->replaced, "found",
                         a->found.text[0] ? a->found.text : "not known", "error",
                         a->failed.text[0] ? a->failed.text : NULL);
}
