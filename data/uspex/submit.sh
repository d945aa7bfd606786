#!/bin/sh
# Calls USPEX until it is done; adapt to your queue. Needs USPEX in the path, and this suite's
# Python (with the extra `generation`) as `python`.
while [ ! -f ./USPEX_IS_DONE ]; do
    USPEX -r >> uspex.log 2>&1
    sleep 60
done
