/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The signed policies beside the identity: read, checked, chosen from, put there, retired. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "platform/crypto.h"
#include "platform/identity-internal.h"
#include "platform/owner.h"

#define DIRECTORY     "policies"
#define SIGNER_SIZE   8
#define FILE_NAME_MAX (2 * (POLICY_DIGEST_SIZE + SIGNER_SIZE) + sizeof("-.json"))

static char *policies_directory(const Identity *id)
{
        return identity_path(id->directory, DIRECTORY);
}

/* What it approves and who signed it name it: the same policy signed again replaces itself. Signed
 * by another it does not: two hand over to the same key, and the first of them may be what the
 * second stands on. */
static int file_name(const Policy *p, char ret[static FILE_NAME_MAX])
{
        uint8_t digest[POLICY_DIGEST_SIZE], signer[CRYPTO_SHA256_SIZE];
        int r = policy_digest(p, digest);
        if (r == 0)
                r = p256_spki_sha256(p->operator_point, signer);
        if (r < 0)
                return r;
        hex_encode(BYTES(digest, sizeof(digest)), ret);
        strcat(ret, "-");
        hex_encode(BYTES(signer, SIGNER_SIZE), ret + strlen(ret));
        strcat(ret, ".json");
        return 0;
}

/* Does it belong to this identity, and did who it names sign it? */
static int check_alone(const Identity *id, const Policy *p, Reason *reason)
{
        if (p->counter_index != id->files.counter_index)
                return reason_set(reason, -EBADMSG,
                                  "The policy names another counter than the identity");
        return policy_verify(p, reason);
}

static int not_by_operator(Reason *reason)
{
        return reason_set(reason, -EBADMSG,
                          "The policy names another operator key than the identity, and no policy "
                          "hands over to it");
}

static int check_operator(Identity *id, const Policy *p, Reason *reason)
{
        if (identity_is_root_operator(id, p->operator_point) ||
            identity_handover(id, p->operator_point))
                return 0;
        return not_by_operator(reason);
}

static int check_policy(Identity *id, const Policy *p, Reason *reason)
{
        int r = check_operator(id, p, reason);
        return r < 0 ? r : check_alone(id, p, reason);
}

static void leave_out(Identity *id, const char *what, int error, const Reason *reason)
{
        log_warning("%s is left out: %s", what, reason->text);
        id->policy_error = error;
        id->policy_reason = *reason;
}

/* Of this host in this moment: that says nothing of what is installed. */
static bool is_of_host(int error)
{
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EIO;
}

/* What is wrong with the file leaves it out; what is wrong with the host is an error. */
static int load_one(Identity *id, const char *directory, const char *name, Reason *reason)
{
        Policy p;
        _cleanup_free_ char *path = identity_path(directory, name);
        int r = path ? policy_load(path, &p, reason) : reason_set(reason, -ENOMEM, "No memory");
        if (is_of_host(r))
                return r;
        if (r < 0) /* whatever there is in its place */
                r = -EBADMSG;
        else
                r = check_alone(id, &p, reason);
        if (r == 0 && id->n_policies == POLICIES_MAX)
                r = reason_set(reason, -ENOSPC, "There are more than %d policies", POLICIES_MAX);
        if (r == 0)
                id->policies[id->n_policies++] = (IdentityPolicy){ .policy = p };
        else
                leave_out(id, path, r, reason);
        return 0;
}

/* Who may sign is known when all are there. */
static void drop_strangers(Identity *id)
{
        Reason reason;
        char name[FILE_NAME_MAX];
        size_t kept = 0;
        identity_find_operators(id);
        for (size_t i = 0; i < id->n_policies; i++) {
                const IdentityPolicy *p = &id->policies[i];
                if (p->trusted)
                        id->policies[kept++] = *p;
                else if (file_name(&p->policy, name) == 0)
                        leave_out(id, name, not_by_operator(&reason), &reason);
        }
        id->n_policies = kept;
        identity_find_operators(id); /* they have moved */
}

static int is_policy(const struct dirent *d)
{
        size_t len = strlen(d->d_name);
        return d->d_name[0] != '.' && len > 5 && streq(d->d_name + len - 5, ".json");
}

static int load_directory(Identity *id, const char *directory, Reason *reason)
{
        struct dirent **names = NULL;
        int n = scandir(directory, &names, is_policy, alphasort), r = 0;
        if (n < 0 && errno != ENOENT)
                return reason_set(reason, -errno, "Cannot read %s: %s", directory, strerror(errno));
        for (int i = 0; i < n; i++) {
                if (r == 0)
                        r = load_one(id, directory, names[i]->d_name, reason);
                free(names[i]);
        }
        free(names);
        return r;
}

static int load_all(Identity *id, Reason *reason)
{
        _cleanup_free_ char *directory = policies_directory(id);
        id->policy_error = reason_set(
                &id->policy_reason, -ENOKEY,
                "No policy is installed, so the identity key cannot be used: see \"sallyportctl "
                "policy predict\"");
        id->n_policies = 0;
        int r = directory ? load_directory(id, directory, reason)
                          : reason_set(reason, -ENOMEM, "Out of memory");
        if (r < 0)
                return r;
        drop_strangers(id);
        id->current = id->n_policies;
        return 0;
}

void identity_load_policies(Identity *id)
{
        Reason reason;
        int r = load_all(id, &reason);
        if (r == 0)
                return;
        id->n_policies = id->current = 0;
        id->policy_error = r;
        id->policy_reason = reason;
}

static void drop_tickets(IdentityPolicy *policies, size_t n)
{
        for (size_t i = 0; i < n; i++)
                Esys_Free(TAKE_PTR(policies[i].ticket));
}

void identity_drop_tickets(Identity *id)
{
        drop_tickets(id->policies, id->n_policies);
}

void identity_free_policies(Identity *id)
{
        identity_drop_tickets(id);
        id->n_policies = id->current = 0;
}

/* Those that are there stay where the new ones cannot be had. */
static int read_anew(Identity *id, Reason *reason)
{
        size_t n = id->n_policies;
        _cleanup_free_ IdentityPolicy *old = malloc(sizeof(id->policies));
        if (!old)
                return reason_set(reason, -ENOMEM, "Out of memory");
        memcpy(old, id->policies, sizeof(id->policies));
        int r = load_all(id, reason);
        if (r == 0) {
                drop_tickets(old, n);
                return 0;
        }
        memcpy(id->policies, old, sizeof(id->policies));
        id->n_policies = n;
        return r;
}

int identity_reload_policies(Identity *id, Reason *reason)
{
        int r = tpm_lock(id->tpm, reason);
        if (r < 0)
                return r;
        r = read_anew(id, reason);
        tpm_unlock(id->tpm);
        return r;
}

size_t identity_n_policies(const Identity *id)
{
        return id->n_policies;
}

const Policy *identity_policy(const Identity *id, size_t i)
{
        return i < id->n_policies ? &id->policies[i].policy : NULL;
}

uint64_t identity_policy_maximum(const Identity *id, size_t i)
{
        return id->policies[i].maximum;
}

PolicyFit identity_policy_fits(const Identity *id, size_t i, const PcrValues *now, uint64_t counter)
{
        const IdentityPolicy *p = &id->policies[i];
        return counter > p->maximum ? POLICY_RETIRED : policy_fits(&p->policy, now, counter);
}

/* The counter may have retired it, or a hand-over that it stands on. */
static int explain(const IdentityPolicy *p, const PcrValues *now, uint64_t counter, Reason *reason)
{
        const IdentityPolicy *ended = counter > p->maximum ? p : NULL;
        while (ended && counter <= ended->policy.counter_maximum)
                ended = ended->by;
        return policy_explain(ended ? &ended->policy : &p->policy, now, counter, reason);
}

/* Why none holds, by the one that comes nearest. */
static int none_holds(const Identity *id, const PcrValues *now, uint64_t counter, Reason *reason)
{
        const IdentityPolicy *nearest = NULL;
        unsigned least = UINT32_MAX;
        for (size_t i = 0; i < id->n_policies; i++) {
                const IdentityPolicy *p = &id->policies[i];
                if (p->policy.hands_over)
                        continue;
                unsigned n = policy_n_differing(&p->policy, now);
                if (counter > p->maximum)
                        n += POLICY_PCR_COUNT + 1; /* retired: the last to be named */
                if (n < least) {
                        least = n;
                        nearest = p;
                }
        }
        if (!nearest)
                return reason_set(
                        reason, -ENOKEY,
                        "No policy is installed but those that hand over: the new operator "
                        "key has to sign one");
        return explain(nearest, now, counter, reason);
}

int identity_choose_policy(Identity *id, Reason *reason)
{
        PcrValues now = { 0 };
        uint64_t counter;
        uint32_t mask = 0;
        if (id->n_policies == 0) {
                *reason = id->policy_reason;
                return id->policy_error;
        }
        for (size_t i = 0; i < id->n_policies; i++)
                mask |= id->policies[i].policy.pcrs.mask;
        int r = mask ? identity_tpm_read_pcrs(id->tpm, mask, &now, reason) : 0;
        if (r == 0)
                r = identity_tpm_read_counter(id->tpm, id->counter, &counter, reason);
        if (r < 0)
                return r;
        for (size_t i = 0; i < id->n_policies; i++)
                if (!id->policies[i].policy.hands_over &&
                    identity_policy_fits(id, i, &now, counter) == POLICY_HOLDS) {
                        id->current = i;
                        return 0;
                }
        id->current = id->n_policies;
        return none_holds(id, &now, counter, reason);
}

static int write_policy(const Identity *id, const Policy *p, Reason *reason)
{
        char name[FILE_NAME_MAX];
        _cleanup_owner_ Owner owner = { 0 };
        _cleanup_free_ char *directory = policies_directory(id);
        if (!directory || file_name(p, name) < 0)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = owner_begin(id->state_directory, &owner, reason);
        if (r < 0)
                return r;
        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return reason_set(reason, -errno, "Cannot create %s: %s", directory,
                                  strerror(errno));
        _cleanup_free_ char *path = identity_path(directory, name);
        return path ? policy_save(p, path, reason) : reason_set(reason, -ENOMEM, "Out of memory");
}

static bool is_there(const Identity *id, const Policy *p)
{
        char ours[FILE_NAME_MAX], theirs[FILE_NAME_MAX];
        for (size_t i = 0; i < id->n_policies; i++)
                if (file_name(p, ours) == 0 && file_name(&id->policies[i].policy, theirs) == 0 &&
                    streq(ours, theirs))
                        return true;
        return false;
}

/* While nobody is in the middle of another one: the TPM is ours. */
static int install(Identity *id, void *argument, Reason *reason)
{
        const Policy *p = argument;
        if (id->n_policies == POLICIES_MAX && !is_there(id, p))
                return reason_set(reason, -ENOSPC,
                                  "There are %d policies already: retire old ones with "
                                  "\"sallyportctl policy retire\"",
                                  POLICIES_MAX);
        int r = write_policy(id, p, reason);
        return r < 0 ? r : read_anew(id, reason);
}

int identity_install_policy(Identity *id, const Policy *p, Reason *reason)
{
        int r = check_policy(id, p, reason);
        if (r < 0)
                return r;
        return id->tpm ? identity_run(id, install, (void *)p, reason)
                       : install(id, (void *)p, reason);
}

static bool any_lives(const Identity *id, uint64_t counter)
{
        for (size_t i = 0; i < id->n_policies; i++)
                if (counter <= id->policies[i].maximum)
                        return true;
        return false;
}

/* They open nothing any more, in any state. Where no other is left they stay, to tell why. */
static void remove_retired(Identity *id, uint64_t counter)
{
        char name[FILE_NAME_MAX];
        Reason reason;
        _cleanup_owner_ Owner owner = { 0 };
        _cleanup_free_ char *directory = policies_directory(id);
        if (!any_lives(id, counter) || !directory ||
            owner_begin(id->state_directory, &owner, &reason) < 0)
                return;
        for (size_t i = 0; i < id->n_policies; i++) {
                const Policy *p = &id->policies[i].policy;
                if (counter <= id->policies[i].maximum || file_name(p, name) < 0)
                        continue;
                _cleanup_free_ char *path = identity_path(directory, name);
                if (path && unlink(path) < 0)
                        log_warning_errno(-errno, "Cannot remove %s, ignoring", path);
        }
}

static int retire(Identity *id, void *argument, Reason *reason)
{
        uint64_t *ret = argument;
        int r = identity_tpm_increment(id->tpm, id->counter, ret, reason);
        if (r < 0)
                return r;
        remove_retired(id, *ret);
        return read_anew(id, reason);
}

int identity_retire_policies(Identity *id, uint64_t *ret_counter, Reason *reason)
{
        return identity_run(id, retire, ret_counter, reason);
}
