/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The configuration files: FOLDER/sallyport.conf, then sallyport.conf.d in it (*.conf in order of
 * name), then devices.d in it (one device each). All is parsed, then all is checked; only
 * what is right as a whole becomes Settings. */

#include <stdio.h>

#include "daemon/settings.h"

#define CONFIG_FILE_MAX    (1024 * 1024) /* bytes */
#define CONFIG_LINE_MAX    4096          /* bytes, continuation lines together as well */
#define CONFIG_DEVICES_MAX 10000
#define CONFIG_ERRORS_MAX  200 /* more are only counted */

/* Loads what AttestationKey= names: 0 with the key and the SHA-256 of its SubjectPublicKeyInfo, or
 * a negative errno (-EBADMSG: no key that is supported). */
typedef struct ConfigKeyLoader {
        int (*load)(const char *path, void **ret_key, uint8_t ret_sha256[static 32],
                    void *userdata);
        void (*free)(void *key);
        void *userdata;
} ConfigKeyLoader;

/* Called for each error, in order of appearance: "FILE:LINE: SECTION/KEY: what is wrong", without
 * the parts that do not apply. One line, safe to print. */
typedef void (*ConfigReport)(const char *message, void *userdata);

/* 0 with the settings; -EINVAL when errors were reported; -ENOMEM. Nothing is kept on errors. */
int config_load(const char *folder, const ConfigKeyLoader *loader, ConfigReport report,
                void *userdata, Settings **ret);

/* Every key with its default, range and help, as comments: conf/sallyport.conf. */
void config_print_template(FILE *f);
/* The same for a file of devices.d/. */
void config_print_device_template(FILE *f);
