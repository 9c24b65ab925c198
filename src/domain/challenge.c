/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/challenge.h"

#include <errno.h>

#include "base/str.h"
#include "domain/device.h"

/* A slot stays with its peer for CHALLENGE_INTERVAL after the nonce was issued, even when that is
 * used up: this is what the rate is kept by. */
typedef struct Slot {
        char peer[DEVICE_NAME_MAX + 1]; /* "" for a slot that was never used */
        uint8_t nonce[CHALLENGE_NONCE_MAX];
        size_t len;
        usec_t issued, expires;
        bool outstanding;
} Slot;

struct Challenges {
        int (*random)(void *p, size_t len);
        size_t capacity;
        Slot slots[];
};

static bool table_size(size_t capacity, size_t *ret)
{
        return !__builtin_mul_overflow(capacity, sizeof(Slot), ret) &&
               !__builtin_add_overflow(*ret, sizeof(Challenges), ret);
}

int challenges_new(size_t capacity, int (*random)(void *p, size_t len), Challenges **ret)
{
        size_t size;
        Challenges *c = table_size(capacity, &size) ? calloc(1, size) : NULL;
        if (!c)
                return -ENOMEM;
        c->random = random;
        c->capacity = capacity;
        *ret = c;
        return 0;
}

int challenges_reserve(Challenges **c, size_t capacity)
{
        size_t before = (*c)->capacity, size;
        if (capacity <= before)
                return 0;
        Challenges *grown = table_size(capacity, &size) ? realloc(*c, size) : NULL;
        if (!grown)
                return -ENOMEM;
        memset(&grown->slots[before], 0, (capacity - before) * sizeof(Slot));
        grown->capacity = capacity;
        *c = grown;
        return 0;
}

Challenges *challenges_free(Challenges *c)
{
        free(c);
        return NULL;
}

static bool slot_live(const Slot *s, usec_t now)
{
        return s->outstanding && now < s->expires;
}

/* Whether the slot says nothing that matters any more. */
static bool slot_free(const Slot *s, usec_t now)
{
        return s->peer[0] == '\0' ||
               (!slot_live(s, now) && now >= usec_add(s->issued, CHALLENGE_INTERVAL));
}

/* Which of a peer's two slots goes first: one whose nonce is gone, else the older one. */
static bool goes_before(const Slot *a, const Slot *b, usec_t now)
{
        bool live = slot_live(a, now);
        return live != slot_live(b, now) ? !live : a->issued < b->issued;
}

/* The slot for the peer's next nonce, or NULL when it has to wait. */
static Slot *choose_slot(Challenges *c, const char *peer, usec_t now)
{
        Slot *unused = NULL, *own = NULL;
        size_t n_own = 0;

        for (size_t i = 0; i < c->capacity; i++) {
                Slot *s = &c->slots[i];
                if (streq(s->peer, peer)) {
                        if (now < usec_add(s->issued, CHALLENGE_INTERVAL))
                                return NULL;
                        n_own++;
                        if (!own || goes_before(s, own, now))
                                own = s;
                } else if (!unused && slot_free(s, now)) {
                        unused = s;
                }
        }
        if (own && (n_own >= CHALLENGE_PER_PEER || !slot_live(own, now)))
                return own;
        return unused;
}

int challenges_issue(Challenges *c, const char *peer, size_t len, usec_t lifetime, usec_t now,
                     uint8_t ret[static CHALLENGE_NONCE_MAX])
{
        uint8_t nonce[CHALLENGE_NONCE_MAX];
        size_t peer_len = strlen(peer);

        if (len < CHALLENGE_NONCE_MIN || len > CHALLENGE_NONCE_MAX)
                return -ERANGE;
        if (peer_len == 0 || peer_len > DEVICE_NAME_MAX)
                return -ERANGE;
        Slot *s = choose_slot(c, peer, now);
        if (!s)
                return -EAGAIN;
        if (c->random(nonce, len) < 0)
                return -EIO;

        *s = (Slot){
                .len = len, .issued = now, .expires = usec_add(now, lifetime), .outstanding = true
        };
        memcpy(s->peer, peer, peer_len + 1);
        memcpy(s->nonce, nonce, len);
        memcpy(ret, nonce, len);
        return 0;
}

bool challenges_consume(Challenges *c, const char *peer, Bytes nonce, usec_t now,
                        usec_t *ret_issued)
{
        for (size_t i = 0; i < c->capacity; i++) {
                Slot *s = &c->slots[i];
                if (!s->outstanding || !streq(s->peer, peer) ||
                    !bytes_equal_ct(BYTES(s->nonce, s->len), nonce))
                        continue;
                bool fresh = slot_live(s, now);
                s->outstanding = false;
                if (fresh && ret_issued)
                        *ret_issued = s->issued;
                return fresh;
        }
        return false;
}

size_t challenges_spend(Challenges *c, const char *peer, Bytes evidence, usec_t now)
{
        size_t n = 0;
        for (size_t i = 0; i < c->capacity; i++) {
                Slot *s = &c->slots[i];
                if (!s->outstanding || !streq(s->peer, peer) || evidence.len < s->len ||
                    !memmem(evidence.data, evidence.len, s->nonce, s->len))
                        continue;
                n += slot_live(s, now);
                s->outstanding = false;
        }
        return n;
}

void challenges_forget(Challenges *c, const char *peer)
{
        for (size_t i = 0; i < c->capacity; i++)
                if (streq(c->slots[i].peer, peer))
                        c->slots[i].outstanding = false;
}
