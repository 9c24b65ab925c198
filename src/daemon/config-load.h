/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What has been read of a configuration until it becomes Settings. For daemon/config* alone. */

#include "daemon/config-table.h"
#include "daemon/config.h"

#define CONFIG_NAMED_MAX 1000 /* zones and classes together */

/* Where something was said; `file` is below the folder, NULL: nowhere. */
typedef struct ConfigOrigin {
        const char *file;
        unsigned line;
} ConfigOrigin;

/* One section: of the gateway, or a zone, class or device. */
typedef struct ConfigObject {
        const ConfigSection *section;
        ConfigOrigin origin;
        ConfigOrigin keys[CONFIG_KEYS_MAX]; /* where each key was set last */
        void *target;                       /* what the offsets of the keys count from */
        union {
                char *name; /* first in Zone, Class and Device */
                Zone zone;
                Class class;
                ConfigDevice device;
        };
} ConfigObject;

typedef struct Config {
        const char *folder;
        int folder_fd;
        const ConfigKeyLoader *loader;
        ConfigReport report;
        void *userdata;
        unsigned errors;
        bool no_memory;

        char **files; /* their names, which origins point to */
        size_t n_files;
        Settings *settings; /* the target of `gateway` */
        ConfigObject gateway[SECTION_ZONE];
        ConfigObject **named; /* zones and classes */
        size_t n_named;
        ConfigObject **devices;
        size_t n_devices;
} Config;

/* Counts and reports. `object` and `key` may be NULL. */
void config_error(Config *c, ConfigOrigin origin, const ConfigObject *object, const char *key,
                  const char *format, ...) _printf_(5, 6);
/* Sets a key as a file would, or to its default with `value` NULL. */
int config_assign(const ConfigObject *object, const ConfigKey *key, const char *value);
bool config_is_set(const ConfigObject *o, const char *key);
/* Where `key` was set, or else where the section stands. */
ConfigOrigin config_origin(const ConfigObject *o, const char *key);

/* A name that is like `word`, or NULL. */
const char *config_suggest(const char *word, const char *const *names, size_t n);

/* Adds what follows from other keys, checks all as a whole and moves it into c->settings. */
void config_finish(Config *c);
