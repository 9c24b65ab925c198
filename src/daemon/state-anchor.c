/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/state-anchor.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "platform/anchor.h"
#include "platform/fiber.h"

#define INTERVAL (6 * USEC_PER_HOUR) /* some 15,000 increments in ten years */
#define RETRY    (10 * USEC_PER_MIN)

/* What is noted of the store: which one it is, and the highest record that it ever had. */
#define MARK_STORE "store"
#define MARK_LAST  "store-last-record"

struct StateAnchor {
        Gateway *gateway;
        Anchor *anchor;
        LoopSource *timer;
        bool busy;     /* a fiber notes */
        bool replaced; /* what was found at the start is not what was left */
        Reason found;  /* a sentence on that */
        Reason failed; /* why the last note could not be taken, or "" */
};

static int take_marks(const StateAnchor *a, AnchorMarks *ret)
{
        StoreStats s;
        *ret = (AnchorMarks){ 0 };
        store_stats(a->gateway->store, &s);
        int r = anchor_mark(ret, MARK_STORE, store_epoch(a->gateway->store));
        return r < 0 ? r : anchor_mark(ret, MARK_LAST, s.last_id);
}

/* The store against a genuine note. */
static bool store_replaced(StateAnchor *a, const AnchorMarks *noted)
{
        AnchorMarks now;
        const AnchorMark *store = anchor_find(noted, MARK_STORE);
        const AnchorMark *last = anchor_find(noted, MARK_LAST);
        if (take_marks(a, &now) < 0 || !store || !last)
                return false;
        if (store->value != now.marks[0].value)
                reason_set(&a->found, 0,
                           "the store is another one than this gateway left: it was replaced, "
                           "removed or damaged");
        else if (now.marks[1].value < last->value)
                reason_set(&a->found, 0,
                           "the store is an older copy: it ends with record %llu, and had come to "
                           "%llu",
                           (unsigned long long)now.marks[1].value, (unsigned long long)last->value);
        else
                return false;
        return true;
}

static void judge(StateAnchor *a, AnchorState state, const AnchorMarks *noted)
{
        switch (state) {
        case ANCHOR_NEW:
                reason_set(&a->found, 0, "noted for the first time");
                break;
        case ANCHOR_CURRENT:
                a->replaced = store_replaced(a, noted);
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

static int note(StateAnchor *a)
{
        AnchorMarks marks;
        Reason reason = { "" };
        int r = take_marks(a, &marks);
        if (r == 0)
                r = anchor_write(a->anchor, &marks, &reason);
        if (r < 0 && !streq(reason.text, a->failed.text))
                log_message_errno(LOG_WARNING, r, LOG_FIELDS({ "REASON", "anchor" }),
                                  "Cannot note the state of the disk, trying again: %s",
                                  reason.text);
        a->failed = r < 0 ? reason : (Reason){ "" };
        return r;
}

static void note_on_fiber(void *userdata)
{
        StateAnchor *a = userdata;
        int r = note(a);
        a->busy = false;
        loop_timer_arm_relative(a->timer, r < 0 ? RETRY : INTERVAL);
}

static void begin(StateAnchor *a)
{
        if (a->busy || !a->anchor)
                return;
        a->busy = true;
        if (fiber_spawn(note_on_fiber, a) < 0)
                a->busy = false;
}

static int on_timer(void *userdata)
{
        begin(userdata);
        return 0;
}

/* What the gateway cannot read it says, and it goes on: this is a notice, not a gate. */
static void look(StateAnchor *a)
{
        AnchorState state;
        AnchorMarks noted;
        Reason *reason = &a->failed;
        _cleanup_free_ char *path = NULL;
        if (asprintf(&path, "%s/anchor.json", a->gateway->settings->state_directory) < 0) {
                path = NULL;
                reason_set(reason, -ENOMEM, "Out of memory");
                return;
        }
        int r = anchor_new(a->gateway->identity, a->gateway->loop, path, &a->anchor, reason);
        if (r == 0)
                r = anchor_read(a->anchor, &state, &noted, reason);
        if (r < 0) {
                log_warning("Whether the disk is as it was left is not known: %s", reason->text);
                return;
        }
        judge(a, state, &noted);
        announce(a);
        note(a);
}

int state_anchor_new(Gateway *g, StateAnchor **ret)
{
        _cleanup_(state_anchor_freep) StateAnchor *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->gateway = g;
        look(a);
        int r = loop_add_timer(g->loop, &a->timer, LOOP_FATAL, on_timer, a);
        if (r >= 0)
                r = loop_timer_arm_relative(a->timer, a->failed.text[0] ? RETRY : INTERVAL);
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

void state_anchor_stop(StateAnchor *a)
{
        if (a)
                begin(a);
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
