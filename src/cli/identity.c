/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity: on the TPM itself, while the daemon need not run. */
#include "platform/identity.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/policy.h"

static int parse_init(int argc, char **argv, IdentityParams *p, const char **ret_sign_with,
                      Reason *reason)
{
        enum { OPERATOR = 256, SIGN, PCRS, FORCE };
        static const struct option options[] = {
                { "operator-key", required_argument, NULL, OPERATOR },
                { "sign-with", required_argument, NULL, SIGN },
                { "pcrs", required_argument, NULL, PCRS },
                { "force", no_argument, NULL, FORCE },
                { 0 },
        };
        const char *operator_key = NULL, *pcrs = IDENTITY_DEFAULT_PCRS;
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (o == OPERATOR)
                        operator_key = optarg;
                else if (o == SIGN)
                        *ret_sign_with = optarg;
                else if (o == PCRS)
                        pcrs = optarg;
                else if (o == FORCE)
                        p->force = true;
                else
                        return reason_set(reason, -EINVAL, "This is no option of identity init");
        }
        if (optind != argc || (!operator_key && !*ret_sign_with))
                return reason_set(reason, -EINVAL,
                                  "Name the operator's key with --operator-key PUB.pem or "
                                  "--sign-with KEY.pem");
        if (pcrs_parse(pcrs, &p->pcrs) < 0)
                return reason_set(reason, -EINVAL, "\"%s\" is no list of PCRs such as \"0 2 4 7\"",
                                  pcrs);
        return operator_key_load(operator_key ? operator_key : *ret_sign_with, p->operator_point,
                                 reason);
}

int command_identity_init(const CommandContext *c, int argc, char **argv)
{
        IdentityParams p = { .tcti = c->tcti, .state_directory = c->state };
        const char *sign_with = NULL;
        Reason reason;
        int r = parse_init(argc, argv, &p, &sign_with, &reason);
        if (r == 0)
                r = identity_create(&p, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        if (!sign_with) {
                puts("The keys are made. They work once the operator has signed a policy:\n"
                     "  sallyportctl policy predict -o policy.json\n"
                     "  sallyportctl policy sign --key OPERATOR.key policy.json -o signed.json\n"
                     "  sallyportctl policy install signed.json");
                return COMMAND_OK;
        }
        _cleanup_(identity_freep) Identity *id = NULL;
        Policy policy;
        r = identity_open(c->tcti, c->state, &id, &reason);
        if (r == 0)
                r = policy_for_now(id, &policy, &reason);
        if (r == 0)
                r = policy_sign(&policy, sign_with, &reason);
        if (r == 0)
                r = identity_install_policy(id, &policy, &reason);
        if (r == 0)
                r = identity_check(id, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        puts("The keys are made, and the policy for the present PCR values is in force.\n"
             "Next: sallyportctl identity csr");
        return COMMAND_OK;
}

typedef struct Request {
        const char *subject, *output;
        const char *names[IDENTITY_NAMES_MAX];
        size_t n_names;
} Request;

static int parse_csr(int argc, char **argv, Request *q, Reason *reason)
{
        static const struct option options[] = {
                { "subject", required_argument, NULL, 's' },
                { "name", required_argument, NULL, 'n' },
                { "address", required_argument, NULL, 'n' },
                { "output", required_argument, NULL, 'o' },
                { 0 },
        };
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 's')
                        q->subject = optarg;
                else if (o == 'o')
                        q->output = optarg;
                else if (o == 'n' && q->n_names < ELEMENTSOF(q->names))
                        q->names[q->n_names++] = optarg;
                else if (o == 'n')
                        return reason_set(reason, -EINVAL, "There are more than %zu names",
                                          ELEMENTSOF(q->names));
                else
                        return reason_set(reason, -EINVAL, "This is no option of identity csr");
        }
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

int command_identity_csr(const CommandContext *c, int argc, char **argv)
{
        Request q = { 0 };
        char host[HOST_NAME_MAX + 1] = "";
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_free_ char *pem = NULL;
        int r = parse_csr(argc, argv, &q, &reason);
        if (r == 0 && !q.subject) {
                gethostname(host, sizeof(host) - 1);
                q.subject = host;
        }
        if (r == 0)
                r = identity_open(c->tcti, c->state, &id, &reason);
        if (r == 0)
                r = identity_csr(id, q.subject, q.names, q.n_names, &pem, &reason);
        return r < 0 ? command_fail(r, &reason) : command_output(q.output, pem);
}

static void print_certificate(const IdentityCertificate *x)
{
        char from[USEC_FORMAT_MAX], to[USEC_FORMAT_MAX];
        printf("Certificate   %s\n", x->subject);
        printf("  issued by   %s\n", x->issuer);
        printf("  valid       %s to %s\n", usec_format_utc(x->not_before, from),
               usec_format_utc(x->not_after, to));
        if (x->is_ca)
                printf("  is a CA     TLS leaves are minted (TLSKey=minted)%s\n",
                       x->path_length == 0 ? "" : "; its path length should be 0");
        else
                printf("  is no CA    each handshake signs in the TPM (TLSKey=tpm)\n");
}

int command_identity_install(const CommandContext *c, int argc, char **argv)
{
        static const struct option options[] = { { "ca", required_argument, NULL, 'c' }, { 0 } };
        const char *ca = NULL;
        Reason reason;
        IdentityCertificate x;
        _cleanup_(identity_freep) Identity *id = NULL;
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (o != 'c')
                        return command_usage("identity install CERT [--ca FILE]");
                ca = optarg;
        }
        if (argc - optind != 1)
                return command_usage("identity install CERT [--ca FILE]");
        int r = identity_open(c->tcti, c->state, &id, &reason);
        if (r == 0)
                r = identity_install_certificate(id, argv[optind], ca, &reason);
        if (r == 0)
                r = identity_certificate(id, &x, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        print_certificate(&x);
        return COMMAND_OK;
}

static json_t *certificate_to_json(const Identity *id)
{
        IdentityCertificate x;
        Reason reason;
        if (identity_certificate(id, &x, &reason) < 0)
                return json_pack("{s:s}", "error", reason.text);
        return json_pack("{s:s, s:s, s:I, s:I, s:b, s:I, s:I}", "subject", x.subject, "issuer",
                         x.issuer, "not-before", (json_int_t)(x.not_before / USEC_PER_SEC),
                         "not-after", (json_int_t)(x.not_after / USEC_PER_SEC), "ca", x.is_ca,
                         "path-length", (json_int_t)x.path_length, "chain-length",
                         (json_int_t)x.chain_length);
}

static int show_json(const Identity *id, int check, const Reason *why)
{
        _cleanup_free_ char *key = p256_point_to_pem(identity_point(id));
        _cleanup_free_ char *ak = p256_point_to_pem(identity_attestation_point(id));
        _cleanup_free_ char *op = p256_point_to_pem(identity_operator_point(id));
        _cleanup_free_ char *pcrs = pcrs_format(identity_pcrs(id));
        if (!key || !ak || !op || !pcrs)
                return COMMAND_FAILED;
        json_t *root =
                json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:s*}", "key", key, "attestation-key", ak,
                          "operator-key", op, "pcrs", pcrs, "certificate", certificate_to_json(id),
                          "can-sign", check == 0, "reason", check < 0 ? why->text : NULL);
        _cleanup_free_ char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
        json_decref(root);
        if (!text)
                return COMMAND_FAILED;
        puts(text);
        return COMMAND_OK;
}

static void print_key(const char *label, const uint8_t *point)
{
        _cleanup_free_ char *pem = p256_point_to_pem(point);
        printf("%s\n%s", label, strempty(pem));
}

int command_identity_show(const CommandContext *c, int argc, char **argv)
{
        Reason reason, why = { 0 };
        _cleanup_(identity_freep) Identity *id = NULL;
        IdentityCertificate x;
        if (argc != 1)
                return command_usage("identity show");
        int r = identity_open(c->tcti, c->state, &id, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        int check = identity_check(id, &why);
        if (c->json) {
                r = show_json(id, check, &why);
                return r == COMMAND_OK && check < 0 ? COMMAND_REFUSED : r;
        }
        print_key("Identity key", identity_point(id));
        print_key("Attestation key", identity_attestation_point(id));
        if (identity_certificate(id, &x, &reason) == 0)
                print_certificate(&x);
        else
                printf("Certificate   %s\n", reason.text);
        int refused = policy_print(id, &reason) < 0 ? command_fail(-EIO, &reason) : COMMAND_OK;
        printf("Can sign now  %s%s\n", check == 0 ? "yes" : "no: ", why.text);
        return check < 0 ? COMMAND_REFUSED : refused;
}
