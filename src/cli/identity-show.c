/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity show: what the operator has to know of it. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/identity.h"
#include "cli/machine.h"
#include "cli/policy.h"
#include "cli/view.h"
#include "platform/identity-candidate.h"

/* Everything that both forms show. */
typedef struct Shown {
        IdentityDescription keys;
        IdentityCertificate certificate;
        int certificate_error;
        IdentityPending pending; /* certificates that are not in force */
        Reason no_certificate;
        bool lockout;
        int check; /* can it sign now? */
        Reason why;
} Shown;

static void print_validity(const IdentityCertificate *x)
{
        char from[USEC_FORMAT_MAX], to[USEC_FORMAT_MAX];
        int64_t days = usec_days_left(x->not_after, now_realtime());
        printf("  valid       %s to %s: ", usec_format_utc(x->not_before, from),
               usec_format_utc(x->not_after, to));
        if (x->not_before > now_realtime())
                puts("NOT YET VALID");
        else if (days < 0)
                puts("EXPIRED");
        else
                printf("%" PRId64 " days left\n", days);
}

void identity_print_certificate(const IdentityCertificate *x)
{
        printf("Certificate   %s\n", x->subject);
        printf("  issued by   %s\n", x->issuer);
        print_validity(x);
        if (x->is_ca)
                printf("  is a CA     TLS leaves are minted (TLSKey=minted)%s\n",
                       x->path_length == 0 ? "" : "; its path length should be 0");
        else
                printf("  is no CA    each MQTT handshake signs in the TPM (TLSKey=tpm), CoAP "
                       "stays closed\n");
}

static void print_pending(const IdentityPending *p)
{
        char until[USEC_FORMAT_MAX];
        _cleanup_free_ char *refused = str_escape(bytes_from_str(p->refused), sizeof(p->refused));
        if (p->candidate)
                printf("  candidate   another certificate, valid until %s, is to be tried "
                       "upstream\n",
                       usec_format_utc(p->not_after, until));
        if (!isempty(refused))
                printf("  refused     another certificate, at %s\n", refused);
}

static json_t *pending_to_json(const IdentityPending *p)
{
        return json_pack("{s:b, s:s*}", "candidate", p->candidate, "refused",
                         p->refused[0] ? p->refused : NULL);
}

static json_t *certificate_to_json(const Shown *s)
{
        const IdentityCertificate *x = &s->certificate;
        if (s->certificate_error < 0)
                return json_pack("{s:s}", "error", s->no_certificate.text);
        return json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:I}", "subject", x->subject,
                         "issuer", x->issuer, "not-before",
                         (json_int_t)(x->not_before / USEC_PER_SEC), "not-after",
                         (json_int_t)(x->not_after / USEC_PER_SEC), "days-left",
                         (json_int_t)usec_days_left(x->not_after, now_realtime()), "ca", x->is_ca,
                         "path-length", (json_int_t)x->path_length, "chain-length",
                         (json_int_t)x->chain_length);
}

static int show_json(Identity *id, const Shown *s, Reason *reason)
{
        char pin[65], ak_id[67];
        _cleanup_free_ char *key = p256_point_to_pem(identity_point(id));
        _cleanup_free_ char *ak = p256_point_to_pem(identity_attestation_point(id));
        _cleanup_free_ char *op = p256_point_to_pem(identity_operator_point(id));
        _cleanup_free_ char *pcrs = pcrs_format(identity_pcrs(id));
        json_t *policy = NULL;
        int r = policy_to_view(id, &policy, reason);
        if (r < 0)
                return r;
        hex_encode(BYTES(s->keys.spki_sha256, sizeof(s->keys.spki_sha256)), pin);
        hex_encode(BYTES(s->keys.ak_id, sizeof(s->keys.ak_id)), ak_id);
        json_t *root = json_pack(
                "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:s*}", "key", key,
                "key-pin", pin, "attestation-key", ak, "attestation-key-id", ak_id, "operator-key",
                op, "pcrs", pcrs, "certificate", certificate_to_json(s), "pending",
                pending_to_json(&s->pending), "policy", policy, "tpm-lockout", s->lockout,
                "can-sign", s->check == 0, "reason", s->check < 0 ? s->why.text : NULL);
        if (!root)
                return reason_set(reason, -ENOMEM, "Out of memory");
        r = view_json(root);
        json_decref(root);
        return r < 0 ? reason_set(reason, r, "Cannot write the answer") : 0;
}

static int show_text(Identity *id, const Shown *s, Reason *reason)
{
        char pin[65], ak_id[67];
        hex_encode(BYTES(s->keys.spki_sha256, sizeof(s->keys.spki_sha256)), pin);
        hex_encode(BYTES(s->keys.ak_id, sizeof(s->keys.ak_id)), ak_id);
        printf("Identity key  sha256:%s\n", pin);
        printf("Attestation   %s (its public key: identity show --ak)\n", ak_id);
        if (s->certificate_error == 0)
                identity_print_certificate(&s->certificate);
        else
                printf("Certificate   %s\n", s->no_certificate.text);
        print_pending(&s->pending);
        int r = policy_print(id, reason);
        if (s->lockout)
                puts("TPM           in dictionary attack lockout: somebody guesses passwords; the "
                     "identity has none, and works");
        printf("Can sign now  %s%s\n",
               s->check == 0 ? "yes" : "no: ", s->check == 0 ? "" : s->why.text);
        return r;
}

static int print_attestation_key(const Identity *id)
{
        _cleanup_free_ char *pem = p256_point_to_pem(identity_attestation_point(id));
        return pem && fputs(pem, stdout) >= 0 && fflush(stdout) == 0 ? COMMAND_OK : COMMAND_FAILED;
}

int command_identity_show(const CommandContext *c, int argc, char **argv)
{
        Reason reason;
        Shown s = { 0 };
        _cleanup_(identity_freep) Identity *id = NULL;
        bool ak = argc == 2 && streq(argv[1], "--ak");
        if (argc != 1 && !ak)
                return command_usage("identity show [--ak]");
        int r = machine_identity(c, &id, &reason);
        if (r == 0 && ak)
                return print_attestation_key(id);
        if (r == 0 && (r = identity_describe(id, &s.keys)) < 0)
                reason_set(&reason, r, "Cannot describe the keys");
        if (r == 0)
                r = identity_lockout(id, &s.lockout, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        s.certificate_error = identity_certificate(id, &s.certificate, &s.no_certificate);
        identity_pending(id, &s.pending);
        s.check = identity_check(id, &s.why);
        r = c->json ? show_json(id, &s, &reason) : show_text(id, &s, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        return s.check < 0 ? COMMAND_REFUSED : COMMAND_OK;
}
