/* devices.c - `--devices 0,1`: the command starts itself once for each device, and the processes share the work as
 * those that mpirun starts do. */
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"
#include "gram/dist.h"

enum { MOST = 16, NAME = 16 };              /* GPUs of a machine; letters of a device's name */

char *cli_devices;

struct poptOption cli_devices_table[] = {
    { "devices", '\0', POPT_ARG_STRING, &cli_devices, 0,
      "Compute on several devices of this machine, GPUs by their numbers, a process each, which share the rows, or the "
      "steps of training, as under mpirun.", "0,1,.." },
    CLI_TABLE_END
};

/* The name of each: "0" is "cuda:0". Zero, or an exit code after a message. */
static int read_list(char name[MOST][NAME], size_t *n)
{
    const char *s = cli_devices;

    for (*n = 0; ; s++) {
        size_t length = strcspn(s, ",");
        bool number = length > 0 && strspn(s, "0123456789") == length;
        if (length == 0 || length > NAME - sizeof "cuda:")
            return cli_usage("--devices %s: wanted numbers of GPUs with commas between them, as 0,1", cli_devices);
        if (*n == MOST)
            return cli_usage("--devices %s: wanted at most %d", cli_devices, MOST);
        snprintf(name[*n], NAME, "%s%.*s", number ? "cuda:" : "", (int)length, s);
        for (size_t i = 0; i < *n; i++)
            if (!strcmp(name[i], name[*n]) && strcmp(name[i], "cpu"))
                return cli_usage("--devices %s: %s stands in it twice", cli_devices, name[i]);
        ++*n;
        s += length;
        if (!*s)
            return CLI_DONE;
    }
}

int cli_devices_run(char **argv, bool *over)
{
    const char *device[MOST];
    char name[MOST][NAME];
    int status, size;
    size_t n;
    gram_err err;
    int rc;

    *over = false;
    if (!cli_devices || gram_dist_is_local())       /* one of those that are asked for */
        return CLI_DONE;
    *over = true;
    if (cli_device)
        return cli_usage("--devices %s: --device %s is given too: wanted one of the two", cli_devices, cli_device);
    if (gram_dist_launched(&status, &size))
        return cli_usage("--devices %s: a launcher started %d processes already: --device cuda gives each of a machine "
                         "a GPU of its own", cli_devices, size);
    rc = read_list(name, &n);
    if (rc)
        return rc;
    *over = n > 1;
    if (n == 1)
        return setenv("GRAM_DEVICE", name[0], 1) ? cli_fail("out of memory") : CLI_DONE;
    for (size_t i = 0; i < n; i++)
        device[i] = name[i];
    return gram_dist_run("/proc/self/exe", argv, device, (int)n, &status, &err) ? cli_fail_err(&err) : status;
}
