/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl: the table of commands and the options that all of them have. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/gateway.h"
#include "platform/file.h"

typedef struct Command {
        const char *group, *verb; /* group NULL: a command of one word */
        CommandFunction run;
        const char *arguments, *help;
} Command;

static const Command commands[] = {
        { NULL, "status", command_status, "", "how the gateway is" },
        { NULL, "devices", command_devices, "", "all devices and their postures" },
        { NULL, "sessions", command_sessions, "[DEVICE]",
          "MQTT sessions, and what is queued for those who are away" },
        { NULL, "why", command_why, "DEVICE",
          "who it is, why it has its posture, what it may reach" },
        { NULL, "quarantine", command_quarantine, "DEVICE [REASON]",
          "close a device off, whatever it proves" },
        { NULL, "release", command_release, "DEVICE", "end its quarantine" },
        { NULL, "reload", command_reload, "", "take a changed configuration over" },
        { NULL, "renew", command_renew, "",
          "ask the EST server for a new certificate now, not when it is time" },
        { "identity", "init", command_identity_init,
          "[--operator-key KEY] [--sign-with KEY] [--pcrs \"0 2 4 7\"] [--force]",
          "make the gateway's keys in the TPM" },
        { "identity", "csr", command_identity_csr,
          "[--subject NAME] [--name DNS]... [--address IP]... [--attest] [--nonce HEX] [-o FILE]",
          "write a certificate request signed by the TPM's key" },
        { "identity", "enroll", command_identity_enroll,
          "[--server URL] [--ca FILE] [--label WORD] [--user FILE | --cert FILE --key FILE] "
          "[--subject NAME] [--name DNS]... [--address IP]... [--wait TIME]",
          "get a certificate from an EST server and take it into use" },
        { "identity", "install", command_identity_install, "CERT [--ca FILE]",
          "take a certificate into use" },
        { "identity", "show", command_identity_show, "[--ak]",
          "keys, certificate, policy, PCRs; --ak: the attestation key alone, for a verifier" },
        { "identity", "endorsement", command_identity_endorsement, "[--key | --certificate]",
          "the TPM's endorsement key, its certificate and the attestation key's name" },
        { "identity", "activate", command_identity_activate, "FILE",
          "open a credential made for both keys, and print what is in it" },
        { "policy", "predict", command_policy_predict,
          "[--pcr N=HEX]... [--pcrs FILE] [--counter MAX] [-o FILE]",
          "write a policy for the present PCR values, or given ones, to be signed" },
        { "policy", "sign", command_policy_sign, "--key KEY FILE [-o FILE]",
          "sign a policy; needs no TPM. KEY: a PEM file or a PKCS#11 URI" },
        { "policy", "install", command_policy_install, "FILE",
          "add a signed policy to those installed" },
        { "policy", "handover", command_policy_handover, "--to KEY [--counter MAX] [-o FILE]",
          "write a policy that lets another operator key sign the next ones, to be signed" },
        { "policy", "retire", command_policy_retire, "[--force]",
          "increment the counter: older policies are dead" },
        { "policy", "check", command_policy_check, "[--pcr N=HEX]... [--pcrs FILE]",
          "would the gateway start with these PCR values?" },
        { "policy", "show", command_policy_show, "",
          "the policies installed, and which of them hold" },
};

/* Of the group `group` alone, and of that the verb `verb`; NULL: all. How many there are. */
static size_t print_commands(FILE *f, const char *group, const char *verb)
{
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                const Command *c = &commands[i];
                if ((group && !streq(group, c->group ? c->group : c->verb)) ||
                    (verb && c->group && !streq(verb, c->verb)))
                        continue;
                n++;
                fprintf(f, "  %s%s%s%s%s\n      %s\n", strempty(c->group), c->group ? " " : "",
                        c->verb, *c->arguments ? " " : "", c->arguments, c->help);
        }
        return n;
}

static void print_help(void)
{
        printf("sallyportctl [OPTIONS] COMMAND ...\n\nCommands:\n");
        print_commands(stdout, NULL, NULL);
        printf("\nOptions:\n"
               "  --config DIR            the gateway's configuration, which says where TPM and\n"
               "                          state are unless these do:\n"
               "  --tcti TCTI             the TPM: device:PATH, swtpm:path=PATH,\n"
               "                          swtpm:host=HOST,port=PORT (or SALLYPORT_TCTI)\n"
               "  --state-directory DIR   (or SALLYPORT_STATE)\n"
               "  --json                  answers for programs\n"
               "  -h, --help, --version\n"
               "\nExit codes: 0 done, 1 failed, 2 usage, 3 the TPM, a token or the policy\n"
               "refuses.\n");
}

int command_fail(int error, const Reason *reason)
{
        fprintf(stderr, "sallyportctl: %s.\n", reason->text);
        switch (error) {
        case -EKEYREJECTED:
        case -EKEYREVOKED:
        case -ENOKEY:
        case -EACCES:
                return COMMAND_REFUSED;
        default:
                return COMMAND_FAILED;
        }
}

int command_misused(const Reason *reason)
{
        command_fail(-EINVAL, reason);
        return COMMAND_USAGE;
}

int command_usage(const char *form)
{
        fprintf(stderr, "Usage: sallyportctl %s\n", form);
        return COMMAND_USAGE;
}

/* What is no file, such as a pipe or /dev/stdout, must not be replaced by one. */
static int write_special(const char *path, const char *text)
{
        FILE *f = fopen(path, "we");
        if (!f)
                return -errno;
        int r = fputs(text, f) < 0 ? -errno : 0;
        if (fclose(f) != 0 && r == 0)
                r = -errno;
        return r;
}

int command_output(const char *path, const char *text)
{
        struct stat st;
        Reason reason;
        if (!path || streq(path, "-"))
                return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? COMMAND_FAILED : COMMAND_OK;
        int r = stat(path, &st) == 0 && !S_ISREG(st.st_mode)
                        ? write_special(path, text)
                        : file_write_atomic(path, bytes_from_str(text), 0644);
        if (r < 0) {
                reason_set(&reason, r, "Cannot write %s: %s", path, strerror(-r));
                return command_fail(r, &reason);
        }
        return COMMAND_OK;
}

static const char *from_environment(const char *name)
{
        const char *value = getenv(name);
        return isempty(value) ? NULL : value;
}

/* The options in front of the command. Negative: go on; otherwise the exit code. */
static int parse_options(int argc, char **argv, CommandContext *c)
{
        enum { CONFIG = 256, TCTI, STATE, JSON, VERSION };
        static const struct option options[] = {
                { "config", required_argument, NULL, CONFIG },
                { "tcti", required_argument, NULL, TCTI },
                { "state-directory", required_argument, NULL, STATE },
                { "json", no_argument, NULL, JSON },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, VERSION },
                { 0 },
        };
        int o;
        while ((o = getopt_long(argc, argv, "+h", options, NULL)) >= 0) {
                switch (o) {
                case CONFIG:
                        c->config = optarg;
                        break;
                case TCTI:
                        c->tcti = optarg;
                        break;
                case STATE:
                        c->state = optarg;
                        break;
                case JSON:
                        c->json = true;
                        break;
                case 'h':
                        print_help();
                        return COMMAND_OK;
                case VERSION:
                        printf("sallyportctl %s\n", SALLYPORT_VERSION);
                        return COMMAND_OK;
                default:
                        return command_usage("--help");
                }
        }
        return -1;
}

static const Command *find_command(int argc, char **argv)
{
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                const Command *c = &commands[i];
                if (c->group ? argc >= 2 && streq(argv[0], c->group) && streq(argv[1], c->verb)
                             : argc >= 1 && streq(argv[0], c->verb))
                        return c;
        }
        return NULL;
}

/* --json is welcome behind the command too: that is where one types it last. */
static int take_json(int argc, char **argv, CommandContext *c)
{
        int n = 0;
        for (int i = 0; i < argc; i++) {
                if (streq(argv[i], "--json"))
                        c->json = true;
                else
                        argv[n++] = argv[i];
        }
        argv[n] = NULL;
        return n;
}

/* Nor is --help only for the front. */
static bool asks_for_help(int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                if (streq(argv[i], "--help") || streq(argv[i], "-h"))
                        return true;
        return false;
}

/* What there is in place of what was typed. */
static int command_unknown(int argc, char **argv)
{
        const char *group = argc > 0 ? argv[0] : NULL;
        if (!group)
                return command_usage("COMMAND ...; \"sallyportctl --help\" lists the commands");
        fprintf(stderr, "sallyportctl: there is no command \"%s%s%s\"", group, argc > 1 ? " " : "",
                argc > 1 ? argv[1] : "");
        fputs("; there are:\n", stderr);
        if (print_commands(stderr, group, NULL) == 0)
                print_commands(stderr, NULL, NULL);
        return COMMAND_USAGE;
}

static int run(int argc, char **argv)
{
        CommandContext c = {
                .tcti = from_environment("SALLYPORT_TCTI"),
                .state = from_environment("SALLYPORT_STATE"),
        };
        int r = parse_options(argc, argv, &c);
        if (r >= 0)
                return r;
        argv += optind;
        argc = take_json(argc - optind, argv, &c);
        const Command *command = find_command(argc, argv);
        if (asks_for_help(argc, argv) &&
            print_commands(stdout, argv[0], command ? command->verb : NULL) > 0)
                return COMMAND_OK;
        if (!command)
                return command_unknown(argc, argv);
        int skip = command->group ? 1 : 0;
        return command->run(&c, argc - skip, argv + skip);
}

/* A full disk behind standard output is a failure too. */
int main(int argc, char **argv)
{
        int code = run(argc, argv);
        if (fflush(stdout) == 0 && !ferror(stdout))
                return code;
        fprintf(stderr, "sallyportctl: Cannot write the answer: %s.\n", strerror(errno));
        return code == COMMAND_OK ? COMMAND_FAILED : code;
}
