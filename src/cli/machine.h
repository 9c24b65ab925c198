/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The machine that identity and policy work on. What neither options nor the environment say, the
 * gateway's configuration says; where there is none its defaults hold. */

#include "cli/command.h"
#include "platform/identity.h"

struct Settings;

typedef struct Machine {
        const char *tcti, *state;
        uint32_t pcrs;
        const char *name; /* of the gateway; NULL without a configuration */
        const char *const *names;
        size_t n_names;
        struct {
                const char *server, *ca, *label, *user_file; /* NULL: not configured */
        } enrollment;
        struct Settings *settings; /* owns the above */
} Machine;

/* Reads the configuration, but not when TPM and state are known and nothing more is wanted:
 * `instead` names the options in whose place more is asked of it, NULL when there are none.
 * -EPERM: this user may not read it; -EINVAL: it is wrong, and the sentence tells the first error
 * and how to do without it. */
int machine_load(const CommandContext *c, const char *instead, Machine *ret, Reason *reason);
void machine_done(Machine *m);
#define _cleanup_machine_ _cleanup_(machine_done)

/* The identity of this machine, with a word on sudo where that is what is missing. */
int machine_open(const Machine *m, Identity **ret, Reason *reason);
/* The same for commands that want nothing else of the machine. */
int machine_identity(const CommandContext *c, Identity **ret, Reason *reason);
/* For what needs its files and no TPM. */
int machine_files(const CommandContext *c, Identity **ret, Reason *reason);
/* Adds that word to what failed with `error`, and returns that. */
int machine_fail(int error, Reason *reason);
