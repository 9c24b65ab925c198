/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity csr: a certificate request, by the key in the TPM. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/machine.h"
#include "platform/identity-request.h"

typedef struct Request {
        const char *subject, *output;
        const char *names[IDENTITY_NAMES_MAX];
        size_t n_names;
        bool attest;
        uint8_t nonce[IDENTITY_NONCE_MAX];
        size_t nonce_len;
} Request;

static int take_name(const char *name, Request *q, Reason *reason)
{
        if (q->n_names == ELEMENTSOF(q->names))
                return reason_set(reason, -EINVAL, "There are more than %zu names",
                                  ELEMENTSOF(q->names));
        q->names[q->n_names++] = name;
        return 0;
}

static int take_nonce(const char *hex, Request *q, Reason *reason)
{
        size_t len = strlen(hex) / 2;
        if (len == 0 || len > sizeof(q->nonce) || hex_decode(hex, q->nonce, len) < 0)
                return reason_set(reason, -EINVAL, "\"%s\" is no nonce of 1 to %d bytes in hex",
                                  hex, IDENTITY_NONCE_MAX);
        q->nonce_len = len;
        q->attest = true;
        return 0;
}

static int parse(int argc, char **argv, Request *q, Reason *reason)
{
        static const struct option options[] = {
                { "subject", required_argument, NULL, 's' },
                { "name", required_argument, NULL, 'n' },
                { "address", required_argument, NULL, 'n' },
                { "attest", no_argument, NULL, 'a' },
                { "nonce", required_argument, NULL, 'r' },
                { "output", required_argument, NULL, 'o' },
                { 0 },
        };
        int o, r = 0;
        COMMAND_OPTIONS_START();
        while (r == 0 && (o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 's')
                        q->subject = optarg;
                else if (o == 'o')
                        q->output = optarg;
                else if (o == 'a')
                        q->attest = true;
                else if (o == 'n' || o == 'r')
                        r = o == 'n' ? take_name(optarg, q, reason) : take_nonce(optarg, q, reason);
                else
                        r = reason_set(reason, -EINVAL, "This is no option of identity csr");
        }
        if (r < 0)
                return r;
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

int command_identity_csr(const CommandContext *c, int argc, char **argv)
{
        _cleanup_machine_ Machine m = { 0 };
        Request q = { 0 };
        char host[HOST_NAME_MAX + 1] = "";
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_free_ char *pem = NULL;
        if (parse(argc, argv, &q, &reason) < 0)
                return command_misused(&reason);
        int r = machine_load(c, q.subject && q.n_names > 0 ? NULL : "--subject and --name", &m,
                             &reason);
        if (r == 0)
                r = machine_open(&m, &id, &reason);
        if (r == 0 && !q.subject && !m.name)
                gethostname(host, sizeof(host) - 1);
        const IdentityRequest request = {
                .common_name = q.subject ? q.subject
                               : m.name  ? m.name
                                         : host,
                .names = q.n_names > 0 ? q.names : m.names,
                .n_names = q.n_names > 0 ? q.n_names : m.n_names,
                .attest = q.attest,
                .nonce = BYTES(q.nonce, q.nonce_len),
        };
        if (r == 0)
                r = identity_csr(id, &request, &pem, &reason);
        return r < 0 ? command_fail(r, &reason) : command_output(q.output, pem);
}
