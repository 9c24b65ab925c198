/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/reference.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/str.h"

#define SHA256_SIZE 32

struct ReferenceSet {
        unsigned refs;
        char *id;
        Corim **files;
        size_t n_files;
};

ReferenceSet *reference_set_ref(ReferenceSet *s)
{
        if (s)
                s->refs++;
        return s;
}

ReferenceSet *reference_set_unref(ReferenceSet *s)
{
        if (!s || --s->refs > 0)
                return NULL;
        for (size_t i = 0; i < s->n_files; i++)
                corim_free(s->files[i]);
        free(s->files);
        free(s->id);
        free(s);
        return NULL;
}

static int refuse(char *error, const char *name, const char *what)
{
        snprintf(error, REFERENCE_ERROR_MAX, "%s: %s", name, what);
        return -EBADMSG;
}

static int load_file(ReferenceSet *s, const ReferenceFile *f, const CorimTrust *trust, usec_t now,
                     char *error)
{
        _cleanup_(corim_freep) Corim *c = NULL;

        int r = corim_read(f->content, trust, now, &c);
        if (r < 0)
                return r;
        if (r == CORIM_E_UNTRUSTED && !trust->key)
                return refuse(error, f->name, "signed, but no signer is configured");
        if (r != CORIM_OK)
                return refuse(error, f->name, corim_outcome_to_string((CorimOutcome)r));
        if (c->profile == CORIM_PROFILE_UNKNOWN)
                return refuse(error, f->name, "names a profile that is not known here");
        s->files[s->n_files++] = TAKE_PTR(c);
        return 0;
}

/* ni:///sha-256;H(H(file) ...) in the order of the files. */
static int name_set(ReferenceSet *s, const ReferenceFile *files, size_t n,
                    int (*sha256)(Bytes data, uint8_t *ret))
{
        uint8_t digest[SHA256_SIZE];
        _cleanup_buf_ Buf digests = BUF_INIT(n * sizeof(digest));

        for (size_t i = 0; i < n; i++) {
                int r = sha256(files[i].content, digest);
                if (r < 0 || (r = buf_append(&digests, BYTES(digest, sizeof(digest)))) < 0)
                        return r;
        }
        int r = sha256(buf_view(&digests), digest);
        if (r < 0)
                return r;
        _cleanup_free_ char *text = base64url_encode_new(BYTES(digest, sizeof(digest)));
        if (!text || asprintf(&s->id, "ni:///sha-256;%s", text) < 0) {
                s->id = NULL;
                return -ENOMEM;
        }
        return 0;
}

int reference_set_load(const ReferenceFile *files, size_t n, const CorimTrust *trust,
                       int (*sha256)(Bytes data, uint8_t *ret), usec_t now, ReferenceSet **ret,
                       char error[static REFERENCE_ERROR_MAX])
{
        _cleanup_(reference_set_unrefp) ReferenceSet *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->refs = 1;
        s->files = calloc(n + 1, sizeof(*s->files));
        if (!s->files)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = load_file(s, &files[i], trust, now, error);
                if (r < 0)
                        return r;
        }
        int r = name_set(s, files, n, sha256);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

const char *reference_set_id(const ReferenceSet *s)
{
        return s->id;
}

size_t reference_set_references(const ReferenceSet *s)
{
        size_t n = 0;
        for (size_t i = 0; i < s->n_files; i++)
                n += s->files[i]->n_references;
        return n;
}

size_t reference_set_keys(const ReferenceSet *s)
{
        size_t n = 0;
        for (size_t i = 0; i < s->n_files; i++)
                n += s->files[i]->n_keys;
        return n;
}

size_t reference_set_skipped(const ReferenceSet *s)
{
        size_t n = 0;
        for (size_t i = 0; i < s->n_files; i++)
                n += s->files[i]->n_skipped;
        return n;
}

/* References for the implementation as such: what is stated for one instance, layer or group of it
 * says nothing about the others. */
static bool environment_is(const CorimEnvironment *e, Bytes implementation_id)
{
        return (e->class_id.type == CORIM_ID_BYTES ||
                e->class_id.type == CORIM_ID_IMPLEMENTATION_ID) &&
               bytes_equal(e->class_id.value, implementation_id) &&
               e->instance.type == CORIM_ID_NONE && !e->narrowed;
}

const CorimReference *reference_set_next(const ReferenceSet *s, Bytes implementation_id, usec_t now,
                                         size_t *i)
{
        size_t index = 0;
        for (size_t f = 0; f < s->n_files; f++) {
                const Corim *c = s->files[f];
                for (size_t k = 0; k < c->n_references; k++, index++)
                        if (index >= *i && corim_valid_at(c, now) &&
                            environment_is(&c->references[k].environment, implementation_id)) {
                                *i = index + 1;
                                return &c->references[k];
                        }
        }
        *i = index;
        return NULL;
}

static bool enrols(const CorimAttestKey *k, Bytes instance_id)
{
        const CorimEnvironment *e = &k->environment;
        return k->spki && !e->narrowed &&
               (e->instance.type == CORIM_ID_UEID || e->instance.type == CORIM_ID_BYTES) &&
               bytes_equal(e->instance.value, instance_id);
}

Bytes reference_set_attest_key(const ReferenceSet *s, Bytes instance_id, usec_t now)
{
        Bytes found = { 0 };
        for (size_t f = 0; f < s->n_files; f++) {
                const Corim *c = s->files[f];
                for (size_t i = 0; i < c->n_keys && corim_valid_at(c, now); i++) {
                        Bytes key = BYTES(c->keys[i].spki, c->keys[i].spki_len);
                        if (!enrols(&c->keys[i], instance_id))
                                continue;
                        if (found.data && !bytes_equal(found, key))
                                return BYTES(NULL, 0);
                        found = key;
                }
        }
        return found;
}
