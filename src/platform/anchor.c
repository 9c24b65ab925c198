/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/anchor.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "platform/crypto.h"
#include "platform/file-waiting.h"
#include "platform/file.h"

#define FORMAT      "sallyport-anchor-1"
#define FILE_MAX    ((size_t)8192)
#define MESSAGE_MAX ((size_t)4096)

struct Anchor {
        Identity *identity;
        Loop *loop;
        char *path;
        uint8_t *key; /* CRYPTO_SHA256_SIZE, in locked memory where there is some */
};

/* What the file says. */
typedef struct Content {
        uint64_t counter;
        AnchorMarks marks;
} Content;

const char *anchor_state_to_string(AnchorState s)
{
        static const char *const words[_ANCHOR_STATE_MAX] = {
                [ANCHOR_NEW] = "new",         [ANCHOR_CURRENT] = "current",
                [ANCHOR_MISSING] = "missing", [ANCHOR_OLDER] = "older",
                [ANCHOR_FORGED] = "forged",
        };
        return words[s];
}

static bool name_valid(const char *name)
{
        size_t len = strlen(name);
        for (size_t i = 0; i < len; i++)
                if (!isalnum((unsigned char)name[i]) && name[i] != '-')
                        return false;
        return len > 0 && len <= ANCHOR_NAME_MAX;
}

int anchor_mark(AnchorMarks *m, const char *name, uint64_t value)
{
        if (!name_valid(name))
                return -EINVAL;
        if (anchor_find(m, name))
                return -EEXIST;
        if (m->n == ANCHOR_MARKS_MAX)
                return -ENOSPC;
        AnchorMark *mark = &m->marks[m->n++];
        snprintf(mark->name, sizeof(mark->name), "%s", name);
        mark->value = value;
        return 0;
}

const AnchorMark *anchor_find(const AnchorMarks *m, const char *name)
{
        for (size_t i = 0; i < m->n; i++)
                if (streq(m->marks[i].name, name))
                        return &m->marks[i];
        return NULL;
}

/* Over everything that the file says, in one form. */
static int authenticate(const Anchor *a, const Content *c, uint8_t ret[static CRYPTO_SHA256_SIZE])
{
        _cleanup_buf_ Buf b = BUF_INIT(MESSAGE_MAX);
        char line[ANCHOR_NAME_MAX + 32];
        int r = buf_append_str(&b, FORMAT "\n");
        snprintf(line, sizeof(line), "%llu\n", (unsigned long long)c->counter);
        if (r == 0)
                r = buf_append_str(&b, line);
        for (size_t i = 0; r == 0 && i < c->marks.n; i++) {
                snprintf(line, sizeof(line), "%s=%llu\n", c->marks.marks[i].name,
                         (unsigned long long)c->marks.marks[i].value);
                r = buf_append_str(&b, line);
        }
        return r < 0 ? r : crypto_hmac(a->key, buf_view(&b), ret);
}

/* Numbers are texts: JSON's do not hold 64 bits everywhere. */
static int read_marks(const json_t *object, AnchorMarks *ret)
{
        const char *name;
        json_t *value;
        uint64_t number;
        json_object_foreach((json_t *)object, name, value)
        {
                const char *text = json_string_value(value);
                if (!text || parse_u64(text, 0, UINT64_MAX, &number) < 0 ||
                    anchor_mark(ret, name, number) < 0)
                        return -EBADMSG;
        }
        return 0;
}

static int read_object(json_t *root, Content *ret, uint8_t mac[static CRYPTO_SHA256_SIZE])
{
        const char *format, *counter, *hex;
        json_t *marks;
        if (json_unpack_ex(root, NULL, JSON_STRICT, "{s:s, s:s, s:o, s:s}", "format", &format,
                           "counter", &counter, "marks", &marks, "mac", &hex) < 0 ||
            !streq(format, FORMAT) || parse_u64(counter, 0, UINT64_MAX, &ret->counter) < 0 ||
            !json_is_object(marks) || hex_decode(hex, mac, CRYPTO_SHA256_SIZE) < 0)
                return -EBADMSG;
        return read_marks(marks, &ret->marks);
}

/* -EBADMSG for what is no such file, or not by this gateway. */
static int read_content(const Anchor *a, Content *ret)
{
        _cleanup_free_ uint8_t *text = NULL;
        uint8_t claimed[CRYPTO_SHA256_SIZE], computed[CRYPTO_SHA256_SIZE];
        size_t len;
        int r = file_read(a->path, FILE_MAX, &text, &len);
        if (r < 0)
                return r == -EFBIG ? -EBADMSG : r;
        json_t *root = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
        r = root ? read_object(root, ret, claimed) : -EBADMSG;
        json_decref(root);
        if (r == 0)
                r = authenticate(a, ret, computed);
        if (r == 0 && !crypto_same(claimed, computed, sizeof(claimed)))
                r = -EBADMSG;
        return r;
}

int anchor_read(Anchor *a, AnchorState *ret_state, AnchorMarks *ret, Reason *reason)
{
        uint64_t counter;
        Content c = { 0 };
        int r = identity_state_counter(a->identity, &counter, reason);
        if (r < 0)
                return r;
        *ret = (AnchorMarks){ 0 };
        r = read_content(a, &c);
        if (r == -ENOENT)
                *ret_state =
                        counter == identity_state_start(a->identity) ? ANCHOR_NEW : ANCHOR_MISSING;
        else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
                return reason_set(reason, r, "Cannot read %s: %s", a->path, strerror(-r));
        else if (r < 0 || c.counter > counter + 1)
                *ret_state = ANCHOR_FORGED;
        else {
                *ret_state = c.counter < counter ? ANCHOR_OLDER : ANCHOR_CURRENT;
                *ret = c.marks;
        }
        return 0;
}

static json_t *number(uint64_t value)
{
        char text[32];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
        return json_string(text);
}

static int write_content(const Anchor *a, const Content *c, Reason *reason)
{
        uint8_t mac[CRYPTO_SHA256_SIZE];
        char hex[2 * CRYPTO_SHA256_SIZE + 1];
        if (authenticate(a, c, mac) < 0)
                return reason_set(reason, -EIO, "Cannot authenticate %s", a->path);
        hex_encode(BYTES(mac, sizeof(mac)), hex);
        json_t *marks = json_object();
        for (size_t i = 0; i < c->marks.n; i++)
                json_object_set_new(marks, c->marks.marks[i].name, number(c->marks.marks[i].value));
        json_t *root = json_pack("{s:s, s:o, s:o, s:s}", "format", FORMAT, "counter",
                                 number(c->counter), "marks", marks, "mac", hex);
        _cleanup_free_ char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
        json_decref(root);
        int r = text ? file_write_waiting(a->loop, a->path, bytes_from_str(text), 0600) : -ENOMEM;
        return r < 0 ? reason_set(reason, r, "Cannot write %s: %s", a->path, strerror(-r)) : 0;
}

/* A file that was written, and whose increment did not follow: that comes first, so that no other
 * bears the same number. */
static int catch_up(Anchor *a, uint64_t *counter, Reason *reason)
{
        Content c = { 0 };
        if (read_content(a, &c) < 0 || c.counter != *counter + 1)
                return 0;
        return identity_state_advance(a->identity, counter, reason);
}

int anchor_write(Anchor *a, const AnchorMarks *m, Reason *reason)
{
        uint64_t counter;
        Content c = { .marks = *m };
        int r = identity_state_counter(a->identity, &counter, reason);
        if (r == 0)
                r = catch_up(a, &counter, reason);
        if (r < 0)
                return r;
        c.counter = counter + 1;
        r = write_content(a, &c, reason);
        return r < 0 ? r : identity_state_advance(a->identity, &counter, reason);
}

int anchor_new(Identity *id, Loop *loop, const char *path, Anchor **ret, Reason *reason)
{
        _cleanup_(anchor_freep) Anchor *a = calloc(1, sizeof(*a));
        if (!a || !(a->path = strdup(path)) ||
            !(a->key = OPENSSL_secure_malloc(CRYPTO_SHA256_SIZE)))
                return reason_set(reason, -ENOMEM, "Out of memory");
        a->identity = id;
        a->loop = loop;
        int r = identity_secret(id, FORMAT, a->key, reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Anchor *anchor_free(Anchor *a)
{
        if (!a)
                return NULL;
        OPENSSL_secure_clear_free(a->key, CRYPTO_SHA256_SIZE);
        free(a->path);
        free(a);
        return NULL;
}
