/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/identity.h"

#include <errno.h>
#include <tss2/tss2_mu.h>

#include "base/log.h"
#include "platform/identity-internal.h"
#include "platform/tpm-provider.h"
#include "platform/tpm-templates.h"

bool identity_same_public(const TPM2B_PUBLIC *a, const TPM2B_PUBLIC *b)
{
        uint8_t x[sizeof(*a)], y[sizeof(*b)];
        size_t x_len = 0, y_len = 0;
        return Tss2_MU_TPM2B_PUBLIC_Marshal(a, x, sizeof(x), &x_len) == TSS2_RC_SUCCESS &&
               Tss2_MU_TPM2B_PUBLIC_Marshal(b, y, sizeof(y), &y_len) == TSS2_RC_SUCCESS &&
               bytes_equal(BYTES(x, x_len), BYTES(y, y_len));
}

/* Is `blob` what `template` makes, but for what the TPM itself filled in? */
static bool made_of(TPM2B_PUBLIC template, const TPM2B_PUBLIC *pub)
{
        template.publicArea.unique = pub->publicArea.unique;
        return identity_same_public(&template, pub);
}

/* A key that somebody put there and that a password opens is not an identity. */
static int check_files(Identity *id, Reason *reason)
{
        const IdentityFiles *f = &id->files;
        uint8_t policy[POLICY_DIGEST_SIZE];
        if (policy_authorize_digest(f->operator_point, policy) < 0)
                return reason_set(reason, -EIO, "Cannot compute the key's policy");
        if (!made_of(template_identity(policy), &f->key.pub) ||
            public_to_point(&f->key.pub, id->point) < 0)
                return reason_set(reason, -EBADMSG,
                                  "The identity key in %s is not one that opens by the operator's "
                                  "policy alone",
                                  id->directory);
        if (!made_of(template_attestation, &f->ak.pub) ||
            public_to_point(&f->ak.pub, id->ak_point) < 0)
                return reason_set(reason, -EBADMSG, "The attestation key in %s is not one",
                                  id->directory);
        if (!made_of(template_secret(policy), &f->secret.pub) ||
            !made_of(template_storage, &f->storage))
                return reason_set(reason, -EBADMSG,
                                  "The secret or the storage root key in %s is not one",
                                  id->directory);
        return 0;
}

/* The storage root key is the same for ever in one TPM, until its owner clears it: another one
 * means another TPM, or somebody on the bus who plays one. */
static int open_storage(Identity *id, ESYS_TR *ret, Reason *reason)
{
        TPM2B_PUBLIC pub;
        ESYS_TR storage;
        int r = identity_tpm_create_storage(id->tpm, &storage, &pub, reason);
        if (r < 0)
                return r;
        if (!identity_same_public(&pub, &id->files.storage))
                r = reason_set(reason, -ENXIO,
                               "This is not the TPM that the identity in %s was made in, or it was "
                               "cleared since: make a new identity (sallyportctl identity init "
                               "--force), or put the old TPM back",
                               id->directory);
        if (r == 0 && !tpm_has_session(id->tpm))
                r = tpm_session_start(id->tpm, storage, reason);
        if (r < 0) {
                identity_tpm_flush(id->tpm, storage);
                return r;
        }
        *ret = storage;
        return 0;
}

static int load_below(Identity *id, ESYS_TR storage, Reason *reason)
{
        int r = identity_tpm_load(id->tpm, storage, &id->files.key, &id->key, reason);
        return r < 0 ? r : identity_tpm_load(id->tpm, storage, &id->files.ak, &id->ak, reason);
}

static int load_keys(Identity *id, Reason *reason)
{
        ESYS_TR storage;
        int r = open_storage(id, &storage, reason);
        if (r < 0)
                return r;
        r = load_below(id, storage, reason);
        identity_tpm_flush(id->tpm, storage);
        if (r == 0)
                r = identity_tpm_open_counter(id->tpm, id->files.counter_index, &id->counter,
                                              reason);
        if (r == 0)
                r = identity_tpm_open_counter(id->tpm, IDENTITY_STATE_INDEX, &id->state_counter,
                                              reason);
        if (r == -ENOENT) /* without it no policy holds any more */
                r = -ENXIO;
        id->loaded = r == 0;
        return r;
}

static void unload_keys(Identity *id)
{
        identity_tpm_flush(id->tpm, id->key);
        identity_tpm_flush(id->tpm, id->ak);
        id->key = id->ak = ESYS_TR_NONE;
}

/* A TPM has room for three objects: the keys make way, and come back. */
int identity_with_object(Identity *id, const IdentityBlob *blob, IdentityObjectUser user,
                         uint8_t *ret, Reason *reason)
{
        ESYS_TR storage, object;
        unload_keys(id);
        id->loaded = false;
        int r = open_storage(id, &storage, reason);
        if (r < 0)
                return r;
        r = identity_tpm_load(id->tpm, storage, blob, &object, reason);
        if (r == 0) {
                r = user(id, object, ret, reason);
                identity_tpm_flush(id->tpm, object);
        }
        Reason ignored;
        id->loaded = load_below(id, storage, r < 0 ? &ignored : reason) == 0;
        identity_tpm_flush(id->tpm, storage);
        return r == 0 && !id->loaded ? -EIO : r;
}

/* The TPM went away, was reset or restarted, or it did not come back last time. */
static int load_again(Identity *id, Reason *reason)
{
        if (!id->health.away)
                log_warning("What was loaded into the TPM is gone: connecting anew.");
        id->loaded = false;
        id->key = id->ak = id->counter = id->state_counter = ESYS_TR_NONE;
        identity_drop_tickets(id);
        int r = tpm_reconnect(id->tpm, reason);
        return r < 0 ? r : load_keys(id, reason);
}

/* An answer that is no word on the TPM's health: it, or we, only said no. */
static bool is_answer(int error)
{
        switch (error) {
        case 0:
        case -ENOKEY:
        case -EBADMSG:
        case -EKEYREJECTED:
        case -EKEYREVOKED:
        case -EINVAL:
        case -ERANGE:
        case -EEXIST:
        case -ENOSPC:
        case -EDQUOT:
        case -EACCES:
        case -ENOMEM:
                return true;
        default:
                return false;
        }
}

static void note_health(Identity *id, int error, const Reason *reason)
{
        IdentityHealth *h = &id->health;
        bool away = !is_answer(error) || !id->loaded, first = h->since == 0;
        if (away && !h->away)
                log_message(LOG_WARNING, LOG_FIELDS({ "REASON", "tpm-away" }),
                            "The TPM cannot be used: %s", reason->text);
        else if (!away && h->away)
                log_message(LOG_NOTICE, LOG_FIELDS({ "REASON", "tpm-back" }),
                            "The TPM is back, and the identity is loaded into it again.");
        if (first || away != h->away)
                h->since = now_boottime();
        h->away = away;
        if (away)
                h->why = *reason;
}

/* What a new connection mends: the TPM was reset under the old one, or an answer of it was lost or
 * forged on its way, and the two ends of the session are out of step: then no command of ours has
 * the right HMAC any more. None of our own objects has a password that could be wrong. */
static bool is_lost(int error)
{
        return error == -ESTALE || error == -EACCES;
}

int identity_run(Identity *id, IdentityOperation operation, void *argument, Reason *reason)
{
        int r = id->tpm ? tpm_lock(id->tpm, reason)
                        : reason_set(reason, -ENODEV, "The identity was opened without its TPM");
        if (r < 0)
                return r;
        bool fresh = !id->loaded || tpm_broken(id->tpm);
        if (fresh)
                r = load_again(id, reason);
        if (r == 0)
                r = operation(id, argument, reason);
        if (is_lost(r) && !fresh) {
                r = load_again(id, reason);
                if (r == 0)
                        r = operation(id, argument, reason);
        }
        if (r == -ESTALE)
                id->loaded = false;
        note_health(id, r, reason);
        tpm_unlock(id->tpm);
        return r;
}

static int sign_for_provider(void *userdata, const uint8_t digest[static POLICY_DIGEST_SIZE],
                             uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        return identity_sign(userdata, digest, ret, reason);
}

int identity_open_files(const char *state_directory, Identity **ret, Reason *reason)
{
        _cleanup_(identity_freep) Identity *id = calloc(1, sizeof(*id));
        if (!id || !(id->state_directory = strdup(state_directory)) ||
            !(id->directory = identity_path(state_directory, "identity")))
                return reason_set(reason, -ENOMEM, "Out of memory");
        id->key = id->ak = id->counter = id->state_counter = ESYS_TR_NONE;
        int r = identity_files_read(id->directory, &id->files, reason);
        if (r == 0)
                r = check_files(id, reason);
        if (r < 0)
                return r;
        identity_load_policies(id);
        identity_load_certificate(id);
        *ret = TAKE_PTR(id);
        return 0;
}

int identity_open(const char *tcti, const char *state_directory, Identity **ret, Reason *reason)
{
        _cleanup_(identity_freep) Identity *id = NULL;
        int r = identity_open_files(state_directory, &id, reason);
        if (r < 0)
                return r;
        r = tpm_open(tcti, &id->tpm, reason);
        if (r == -ENOENT) /* its device or socket: there is an identity */
                r = -ENODEV;
        if (r == 0)
                r = load_keys(id, reason);
        if (r == 0)
                r = tpm_provider_key(id->point, sign_for_provider, id, &id->pkey, reason);
        if (r < 0)
                return r;
        note_health(id, 0, reason);
        *ret = TAKE_PTR(id);
        return 0;
}

Identity *identity_free(Identity *id)
{
        if (!id)
                return NULL;
        EVP_PKEY_free(id->pkey);
        X509_free(id->leaf);
        sk_X509_pop_free(id->chain, X509_free);
        identity_free_policies(id);
        if (id->tpm)
                unload_keys(id);
        tpm_free(id->tpm);
        free(id->directory);
        free(id->state_directory);
        free(id);
        return NULL;
}

int identity_attach(Identity *id, Loop *loop)
{
        id->loop = loop;
        return tpm_attach(id->tpm, loop);
}

bool identity_busy(const Identity *id)
{
        return tpm_busy(id->tpm);
}

void identity_abandon(Identity *id)
{
        tpm_abandon(id->tpm);
}

const IdentityHealth *identity_health(const Identity *id)
{
        return &id->health;
}

static int read_counter(Identity *id, void *argument, Reason *reason)
{
        return identity_tpm_read_counter(id->tpm, id->counter, argument, reason);
}

int identity_read_counter(Identity *id, uint64_t *ret, Reason *reason)
{
        return identity_run(id, read_counter, ret, reason);
}

static int read_state_counter(Identity *id, void *argument, Reason *reason)
{
        return identity_tpm_read_counter(id->tpm, id->state_counter, argument, reason);
}

int identity_state_counter(Identity *id, uint64_t *ret, Reason *reason)
{
        return identity_run(id, read_state_counter, ret, reason);
}

static int advance_state_counter(Identity *id, void *argument, Reason *reason)
{
        return identity_tpm_increment(id->tpm, id->state_counter, argument, reason);
}

int identity_state_advance(Identity *id, uint64_t *ret, Reason *reason)
{
        return identity_run(id, advance_state_counter, ret, reason);
}

uint64_t identity_state_start(const Identity *id)
{
        return id->files.state_start;
}

int identity_probe(Identity *id, Reason *reason)
{
        uint64_t ignored;
        return identity_read_counter(id, &ignored, reason);
}

static int read_lockout(Identity *id, void *argument, Reason *reason)
{
        _cleanup_esys_ TPMS_CAPABILITY_DATA *found = NULL;
        TSS2_RC rc = Esys_GetCapability(tpm_esys(id->tpm), tpm_session(id->tpm, TPM_PROTECT_WATCH),
                                        ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES,
                                        TPM2_PT_PERMANENT, 1, NULL, &found);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(id->tpm, reason, rc, "Cannot read the TPM's properties");
        const TPML_TAGGED_TPM_PROPERTY *p = &found->data.tpmProperties;
        *(bool *)argument = p->count > 0 && p->tpmProperty[0].property == TPM2_PT_PERMANENT &&
                            p->tpmProperty[0].value & TPMA_PERMANENT_INLOCKOUT;
        return 0;
}

int identity_lockout(Identity *id, bool *ret, Reason *reason)
{
        return identity_run(id, read_lockout, ret, reason);
}

typedef struct PcrOperation {
        uint32_t mask;
        PcrValues *ret;
} PcrOperation;

static int read_pcrs(Identity *id, void *argument, Reason *reason)
{
        const PcrOperation *o = argument;
        return identity_tpm_read_pcrs(id->tpm, o->mask, o->ret, reason);
}

int identity_read_pcrs(Identity *id, uint32_t mask, PcrValues *ret, Reason *reason)
{
        PcrOperation o = { mask, ret };
        return identity_run(id, read_pcrs, &o, reason);
}

uint32_t identity_pcrs(const Identity *id)
{
        return id->files.pcrs;
}

uint32_t identity_counter_index(const Identity *id)
{
        return id->files.counter_index;
}

const uint8_t *identity_point(const Identity *id)
{
        return id->point;
}

const uint8_t *identity_attestation_point(const Identity *id)
{
        return id->ak_point;
}

const uint8_t *identity_operator_point(const Identity *id)
{
        return id->files.operator_point;
}

struct evp_pkey_st *identity_pkey(const Identity *id)
{
        return id->pkey;
}
