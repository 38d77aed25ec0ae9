/* Loaded before a simulation (LD_PRELOAD), so that what its process takes for random is decided by SIMULATION_SEED: the ids
   that proxies choose, the order of hash tables, the branch that a select polls first. Each thread begins anew. Good for nothing else. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

static uint64_t next(void)
{
    static _Thread_local uint64_t state;
    static _Thread_local int begun;
    if (!begun) {
        const char *seed = getenv("SIMULATION_SEED");
        state = seed ? strtoull(seed, NULL, 10) : 0;
        begun = 1;
    }
    state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

ssize_t getrandom(void *out, size_t length, unsigned flags)
{
    (void)flags;
    unsigned char *bytes = out;
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)next();
    return (ssize_t)length;
}
