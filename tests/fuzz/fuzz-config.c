/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One configuration file, given as the main file and as a device's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/str.h"
#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/sallyport-fuzz-XXXXXX";
static int folder_fd = -1;

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void remove_folder(void)
{
        unlinkat(folder_fd, "sallyport.conf", 0);
        unlinkat(folder_fd, "devices.d/dev1.conf", 0);
        unlinkat(folder_fd, "devices.d", AT_REMOVEDIR);
        rmdir(folder);
}

static void put(const char *name, const void *data, size_t size)
{
        _cleanup_close_ int fd =
                openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

static int load_key(const char *path, void **ret, uint8_t ret_sha256[static 32], void *userdata)
{
        memset(ret_sha256, 0, 32);
        *ret = malloc(1);
        return *ret ? 0 : -ENOMEM;
}

/* What reaches the operator is one line that a terminal can show. */
static void report(const char *message, void *userdata)
{
        require(utf8_valid(bytes_from_str(message)));
        for (const char *p = message; *p; p++)
                require((unsigned char)*p >= 0x20 && *p != 0x7f);
        *(unsigned *)userdata += 1;
}

static void load(void)
{
        static const ConfigKeyLoader loader = { load_key, free, NULL };
        _cleanup_(settings_freep) Settings *s = NULL;
        unsigned errors = 0;
        int r = config_load(folder, &loader, report, &errors, &s);
        require(r == 0 || r == -EINVAL);
        require((r == 0) == (s != NULL) && (r == 0) == (errors == 0));
        for (size_t i = 0; s && i < s->n_devices; i++)
                require(s->devices[i].zone && s->devices[i].class &&
                        (s->devices[i].certificate_name || s->devices[i].spki_pinned));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char main_file[] = "[Devices]\nCA=/ca\n[Zone z]\nInterface=i\n"
                                        "[Class c]\nAttestation=psa\n";
        static const char device_file[] = "[Device]\nZone=z\nClass=c\nCertificateName=x\n";
        if (folder_fd < 0) {
                require(mkdtemp(folder) != NULL);
                folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                require(folder_fd >= 0 && mkdirat(folder_fd, "devices.d", 0755) == 0);
                atexit(remove_folder);
        }
        put("sallyport.conf", data, size);
        put("devices.d/dev1.conf", device_file, sizeof device_file - 1);
        load();
        put("sallyport.conf", main_file, sizeof main_file - 1);
        put("devices.d/dev1.conf", data, size);
        load();
        return 0;
}
