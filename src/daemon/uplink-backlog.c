/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink-backlog.h"

#include <errno.h>
#include <string.h>

typedef struct Waiting {
        List link;
        StoreRecord record;
} Waiting;

static size_t cost(const StoreRecord *r)
{
        return sizeof(Waiting) + strlen(r->device) + strlen(r->topic) + strlen(r->posture) +
               (r->content_type ? strlen(r->content_type) : 0) + r->payload.len;
}

void backlog_init(Backlog *b)
{
        *b = (Backlog){ 0 };
        list_init(&b->records);
}

const StoreRecord *backlog_first(const Backlog *b)
{
        const List *first = list_first(&b->records);
        return first ? &LIST_ENTRY(first, const Waiting, link)->record : NULL;
}

void backlog_pop(Backlog *b)
{
        Waiting *w = LIST_ENTRY(list_first(&b->records), Waiting, link);
        list_remove(&w->link);
        b->n--;
        b->bytes -= cost(&w->record);
        store_record_done(&w->record);
        free(w);
}

void backlog_done(Backlog *b)
{
        while (b->n > 0)
                backlog_pop(b);
}

void backlog_rewind(Backlog *b, uint64_t after)
{
        const StoreRecord *first = backlog_first(b);
        b->after = MIN(first ? first->id - 1 : b->after, after);
        b->dry = false;
        backlog_done(b);
}

bool backlog_wants(const Backlog *b)
{
        return !b->dry && b->n < BACKLOG_PAGE && b->bytes < BACKLOG_BYTES;
}

static int take_over(Backlog *b, StoreRecord *r)
{
        Waiting *w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->record = store_record_take(r);
        list_append(&b->records, &w->link);
        b->n++;
        b->bytes += cost(&w->record);
        b->after = w->record.id;
        return 0;
}

int backlog_read(Backlog *b, StoreRecord *records, size_t n)
{
        b->dry = n == 0;
        for (size_t i = 0; i < n; i++) {
                int r = take_over(b, &records[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

void backlog_appended(Backlog *b, StoreRecord *record)
{
        b->dry = b->dry && b->bytes + cost(record) <= BACKLOG_BYTES && take_over(b, record) == 0;
}
