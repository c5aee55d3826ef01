"""Submit ``sightsound batch`` to a Ray cluster as a job, follow its log, end with its status.

    python configs/submit_job.py --address http://127.0.0.1:8265 -- s3://BUCKET/videos \
        --out s3://BUCKET/labels

What follows ``--`` is passed on to ``sightsound batch``; paths and URIs are those of the head
node, where the job runs. Needs ``pip install "ray[default]==VERSION"`` here and on the head node,
with the cluster's version. Where RAY_API_SERVER_ADDRESS or RAY_ADDRESS is set, Ray takes that and
not ``--address``. For a cluster with token authentication, set RAY_AUTH_MODE=token and the token
(RAY_AUTH_TOKEN_PATH) here, too. Ctrl-C ends the following only; the job goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time

from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient

# As after Ctrl-C, the run commits what is finished; Ray's own default is SIGTERM and 3 seconds.
_STOP_IN_GOOD_ORDER = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "120"}
_POLL_S = 2.0


def main() -> int:
    """Submit and follow; the exit status is that of ``sightsound batch``."""
    parser = argparse.ArgumentParser(description="Run 'sightsound batch' as a Ray job.")
    parser.add_argument(
        "--address", default="http://127.0.0.1:8265", help="the dashboard (default: %(default)s)"
    )
    parser.add_argument(
        "batch", nargs="+", metavar="-- SOURCE... --out DIR", help="passed to sightsound batch"
    )
    given = parser.parse_args()
    command = shlex.join(["sightsound", "batch", *given.batch, "--address", "auto"])
    try:
        client = JobSubmissionClient(given.address)
        job = client.submit_job(entrypoint=command, runtime_env={"env_vars": _STOP_IN_GOOD_ORDER})
    except (ConnectionError, RuntimeError, RayError) as error:
        sys.exit(f"submit_job: the job could not be submitted ({error})")
    _say(f"{job}: {command}")
    try:
        asyncio.run(_follow(client, job))
        while not client.get_job_status(job).is_terminal():
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        _say(f"{job} goes on; to stop it: ray job stop --address {given.address} {job}")
        return 130
    details = client.get_job_info(job)
    _say(f"{job}: {details.status.value}")
    if details.status == JobStatus.SUCCEEDED:
        return 0
    return details.driver_exit_code or 1


async def _follow(client: JobSubmissionClient, job: str) -> None:
    """Copy the log to standard output until the job has ended."""
    try:
        async for text in client.tail_job_logs(job):
            sys.stdout.write(text)
            sys.stdout.flush()
    except (RuntimeError, OSError) as error:
        _say(f"The log broke off ({error}); waiting for the end of {job}.")


def _say(text: str) -> None:
    sys.stderr.write(f"submit_job: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
