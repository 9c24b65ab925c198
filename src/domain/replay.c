/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/replay.h"

#include <errno.h>

#include "base/hashmap.h"

typedef struct Entry {
        char peer[DEVICE_NAME_MAX + 1];
        uint8_t digest[REPLAY_DIGEST];
        usec_t until;
        ReplayAnswer answer; /* its result is what follows */
        uint8_t result[];
} Entry;

struct Replays {
        Hashmap *entries; /* by peer */
};

int replays_new(Replays **ret)
{
        _cleanup_(replays_freep) Replays *r = calloc(1, sizeof(*r));
        if (!r || !(r->entries = hashmap_new()))
                return -ENOMEM;
        *ret = TAKE_PTR(r);
        return 0;
}

Replays *replays_free(Replays *r)
{
        if (!r)
                return NULL;
        if (r->entries)
                HASHMAP_FOREACH (i, r->entries) {
                        free(i.value);
                }
        hashmap_free(r->entries);
        free(r);
        return NULL;
}

int replays_keep(Replays *r, const char *peer, const uint8_t digest[static REPLAY_DIGEST],
                 const ReplayAnswer *answer, usec_t now, usec_t until)
{
        size_t len = strlen(peer);
        replays_forget(r, peer);
        Entry *e = len <= DEVICE_NAME_MAX ? malloc(sizeof(*e) + answer->result.len) : NULL;
        if (!e)
                return -ENOMEM;
        *e = (Entry){ .until = MIN(until, usec_add(now, REPLAY_LIFETIME)), .answer = *answer };
        memcpy(e->peer, peer, len + 1);
        memcpy(e->digest, digest, REPLAY_DIGEST);
        if (answer->result.len > 0)
                memcpy(e->result, answer->result.data, answer->result.len);
        e->answer.result = BYTES(e->result, answer->result.len);
        int error = hashmap_put(r->entries, bytes_from_str(e->peer), e);
        if (error < 0)
                free(e);
        return error;
}

const ReplayAnswer *replays_find(const Replays *r, const char *peer,
                                 const uint8_t digest[static REPLAY_DIGEST], usec_t now)
{
        const Entry *e = hashmap_get(r->entries, bytes_from_str(peer));
        bool same = e && now < e->until && memcmp(e->digest, digest, REPLAY_DIGEST) == 0;
        return same ? &e->answer : NULL;
}

void replays_forget(Replays *r, const char *peer)
{
        free(hashmap_remove(r->entries, bytes_from_str(peer)));
}
