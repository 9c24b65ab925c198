/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The main of a fuzz harness where no fuzzer drives it: every file of the corpus folders given is
 * run whole and cut off at each length, so that an old finding stays found with any compiler. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"

#define FILE_MAX     (1024 * 1024)
#define PREFIXES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* On an allocation of its exact size, so that a sanitizer sees the first byte beyond. */
static void run_one(const uint8_t *data, size_t size)
{
        uint8_t *copy = malloc(size > 0 ? size : 1);
        if (!copy)
                abort();
        if (size > 0)
                memcpy(copy, data, size);
        LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static int run_file(int dir, const char *name)
{
        static uint8_t data[FILE_MAX];
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return 0;
        ssize_t n = read(fd, data, sizeof data);
        if (n < 0 || n != st.st_size)
                return n < 0 ? -errno : -EFBIG;
        size_t len = (size_t)n;
        run_one(data, len);
        for (size_t cut = 0; cut < MIN(len, (size_t)PREFIXES_MAX); cut++)
                run_one(data, cut);
        return 1;
}

static int run_folder(const char *path)
{
        DIR *dir = opendir(path);
        int files = 0;
        if (!dir)
                return -errno;
        for (struct dirent *e; (e = readdir(dir));) {
                int r = run_file(dirfd(dir), e->d_name);
                if (r < 0) {
                        fprintf(stderr, "%s/%s: %s\n", path, e->d_name, strerror(-r));
                        closedir(dir);
                        return r;
                }
                files += r;
        }
        closedir(dir);
        return files;
}

int main(int argc, char **argv)
{
        int files = 0;
        for (int i = 1; i < argc; i++) {
                int r = run_folder(argv[i]);
                if (r < 0) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return EXIT_FAILURE;
                }
                files += r;
        }
        printf("%d files\n", files);
        /* A corpus that is not there would be a test that cannot fail. */
        return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
