/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/sessions.h"

#include <errno.h>

#include "base/hashmap.h"
#include "base/list.h"
#include "platform/ossl.h"

#define SECRET_MAX  48 /* SHA-384, the longest of TLS 1.3 */
#define CONTEXT_MAX SSL_MAX_SID_CTX_LENGTH

typedef struct Peer {
        uint8_t id[SESSIONS_PEER_SIZE];
        List entries; /* the oldest first */
        size_t n;
} Peer;

typedef struct Entry {
        List node, sibling;
        Peer *peer;
        const SSL_CIPHER *cipher;
        time_t made;  /* seconds, of OpenSSL's clock */
        long timeout; /* seconds */
        uint8_t id[SSL_MAX_SSL_SESSION_ID_LENGTH], context[CONTEXT_MAX], secret[SECRET_MAX];
        uint8_t id_len, context_len, secret_len;
        size_t data_len;
        uint8_t data[];
} Entry;

struct Sessions {
        Hashmap *entries, *peers;
        List fresh, old; /* since the last rotation; before it; the oldest first */
        size_t max;
};

OSSL_CLEANUP(SSL_SESSION, SSL_SESSION_free)

int sessions_new(Sessions **ret)
{
        Sessions *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        list_init(&s->fresh);
        list_init(&s->old);
        s->entries = hashmap_new();
        s->peers = hashmap_new();
        if (!s->entries || !s->peers) {
                sessions_free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

static Peer *peer_new(Sessions *s, const uint8_t *id)
{
        Peer *p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        memcpy(p->id, id, sizeof(p->id));
        list_init(&p->entries);
        if (hashmap_put(s->peers, BYTES(p->id, sizeof(p->id)), p) == 0)
                return p;
        free(p);
        return NULL;
}

static void peer_release(Sessions *s, Peer *p)
{
        if (p->n > 0)
                return;
        hashmap_remove(s->peers, BYTES(p->id, sizeof(p->id)));
        free(p);
}

static void drop(Sessions *s, Entry *e)
{
        list_remove(&e->sibling);
        e->peer->n--;
        peer_release(s, e->peer);
        hashmap_remove(s->entries, BYTES(e->id, e->id_len));
        list_remove(&e->node);
        OPENSSL_cleanse(e, sizeof(*e) + e->data_len);
        free(e);
}

static void drop_all(Sessions *s, List *list)
{
        LIST_FOREACH_SAFE (i, list)
                drop(s, LIST_ENTRY(i, Entry, node));
}

Sessions *sessions_free(Sessions *s)
{
        if (!s)
                return NULL;
        drop_all(s, &s->fresh);
        drop_all(s, &s->old);
        hashmap_free(s->entries);
        hashmap_free(s->peers);
        free(s);
        return NULL;
}

static void make_room(Sessions *s, size_t max)
{
        while (hashmap_size(s->entries) > max)
                drop(s, LIST_ENTRY(list_first(list_empty(&s->old) ? &s->fresh : &s->old), Entry,
                                   node));
}

void sessions_set_max(Sessions *s, size_t max)
{
        s->max = max;
        make_room(s, max);
}

void sessions_rotate(Sessions *s)
{
        drop_all(s, &s->old);
        list_splice(&s->old, &s->fresh);
}

static bool copy(uint8_t *to, size_t max, uint8_t *ret_len, const uint8_t *from, size_t len)
{
        if (len > max)
                return false;
        memcpy(to, from, len);
        *ret_len = (uint8_t)len;
        return true;
}

static bool fill(Entry *e, const SSL_SESSION *session)
{
        unsigned id_len, context_len;
        const uint8_t *id = SSL_SESSION_get_id(session, &id_len);
        const uint8_t *context = SSL_SESSION_get0_id_context(session, &context_len);
        e->cipher = SSL_SESSION_get0_cipher(session);
        e->made = SSL_SESSION_get_time_ex(session);
        e->timeout = SSL_SESSION_get_timeout(session);
        e->secret_len = (uint8_t)SSL_SESSION_get_master_key(session, e->secret, SECRET_MAX);
        return e->cipher && e->secret_len > 0 && id_len > 0 &&
               SSL_SESSION_get_master_key(session, NULL, 0) <= SECRET_MAX &&
               copy(e->id, sizeof(e->id), &e->id_len, id, id_len) &&
               copy(e->context, sizeof(e->context), &e->context_len, context, context_len);
}

static int enter(Sessions *s, Entry *e, const uint8_t *id)
{
        Peer *p = hashmap_get(s->peers, BYTES(id, SESSIONS_PEER_SIZE));
        if (!p)
                p = peer_new(s, id);
        if (!p)
                return -ENOMEM;
        int r = hashmap_put(s->entries, BYTES(e->id, e->id_len), e);
        if (r < 0) {
                peer_release(s, p);
                return r;
        }
        e->peer = p;
        p->n++;
        list_append(&p->entries, &e->sibling);
        list_append(&s->fresh, &e->node);
        if (p->n > SESSIONS_PEER_MAX)
                drop(s, LIST_ENTRY(list_first(&p->entries), Entry, sibling));
        return 0;
}

int sessions_put(Sessions *s, const SSL_SESSION *session,
                 const uint8_t peer[static SESSIONS_PEER_SIZE])
{
        void *data = NULL;
        size_t len = 0;
        if (s->max == 0)
                return 0;
        if (SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION ||
            SSL_SESSION_get0_ticket_appdata((SSL_SESSION *)session, &data, &len) != 1 || len == 0)
                return -EINVAL;
        Entry *e = calloc(1, sizeof(*e) + len);
        if (!e)
                return -ENOMEM;
        list_init(&e->node);
        list_init(&e->sibling);
        e->data_len = len;
        memcpy(e->data, data, len);
        make_room(s, s->max - 1);
        int r = fill(e, session) ? enter(s, e, peer) : -EINVAL;
        if (r < 0) {
                OPENSSL_cleanse(e, sizeof(*e) + len);
                free(e);
        }
        return r;
}

SSL_SESSION *sessions_get(const Sessions *s, Bytes id)
{
        const Entry *e = hashmap_get(s->entries, id);
        _cleanup_(SSL_SESSION_freep) SSL_SESSION *session = e ? SSL_SESSION_new() : NULL;
        if (!session || SSL_SESSION_set1_id(session, e->id, e->id_len) != 1 ||
            SSL_SESSION_set1_id_context(session, e->context, e->context_len) != 1 ||
            SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1 ||
            SSL_SESSION_set_cipher(session, e->cipher) != 1 ||
            SSL_SESSION_set1_master_key(session, e->secret, e->secret_len) != 1 ||
            SSL_SESSION_set1_ticket_appdata(session, e->data, e->data_len) != 1)
                return NULL;
        SSL_SESSION_set_time_ex(session, e->made);
        SSL_SESSION_set_timeout(session, e->timeout);
        return TAKE_PTR(session);
}
