/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What every command of sallyportctl gets. The table of commands is in main.c: one row a command,
 * "group verb" or one word. A command gets its own arguments, argv[0] being its name; it returns
 * an exit code. Results go to standard output, sentences about failures to standard error. */

#include <getopt.h>

#include "base/util.h"
#include "platform/reason.h"

typedef struct CommandContext {
        bool json;          /* --json: one document, for programs */
        const char *config; /* --config, or NULL: the folder of the package */
        const char *tcti;   /* --tcti or SALLYPORT_TCTI, or NULL: see cli/machine.h */
        const char *state;  /* --state-directory or SALLYPORT_STATE, or NULL */
} CommandContext;

typedef int (*CommandFunction)(const CommandContext *context, int argc, char **argv);

/* Exit codes. */
enum {
        COMMAND_OK = 0,
        COMMAND_FAILED = 1,
        COMMAND_USAGE = 2,
        COMMAND_REFUSED = 3, /* TPM, token or policy do not allow it; nothing was changed */
};

/* "sallyportctl: SENTENCE." on standard error; the exit code for `error`. */
int command_fail(int error, const Reason *reason);
/* Both for a command line that is not understood: why, or what would be right. COMMAND_USAGE. */
int command_misused(const Reason *reason);
int command_usage(const char *form);
/* Writes to `path`, or to standard output when it is NULL or "-". A file is the old or the new one,
 * whatever happens. */
int command_output(const char *path, const char *text);

/* getopt_long() from the start of `argv`, options and operands mixed as they come. */
#define COMMAND_OPTIONS_START() (optind = 0)

int command_identity_init(const CommandContext *context, int argc, char **argv);
int command_identity_csr(const CommandContext *context, int argc, char **argv);
int command_identity_enroll(const CommandContext *context, int argc, char **argv);
int command_identity_install(const CommandContext *context, int argc, char **argv);
int command_identity_endorsement(const CommandContext *context, int argc, char **argv);
int command_identity_activate(const CommandContext *context, int argc, char **argv);
int command_identity_show(const CommandContext *context, int argc, char **argv);

int command_policy_predict(const CommandContext *context, int argc, char **argv);
int command_policy_sign(const CommandContext *context, int argc, char **argv);
int command_policy_install(const CommandContext *context, int argc, char **argv);
int command_policy_handover(const CommandContext *context, int argc, char **argv);
int command_policy_retire(const CommandContext *context, int argc, char **argv);
int command_policy_check(const CommandContext *context, int argc, char **argv);
int command_policy_show(const CommandContext *context, int argc, char **argv);
