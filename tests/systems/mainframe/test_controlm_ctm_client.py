"""An independent client works against the stand-in unmodified: BMC's own ctm-python-client."""

import asyncio
import time
import warnings
from types import SimpleNamespace

import pytest

pytest.importorskip("ctm_python_client", reason="BMC's client is missing: pip install ctm-python-client")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # generated code with escapes that newer Pythons warn of
    from clients.ctm_api_client.models import OrderFolderParameters
    from clients.ctm_api_client.rest import ApiException
    from ctm_python_client.core.comm import OnPremAAPIClient
    from ctm_python_client.core.credential import SimpleCredentials
    from ctm_python_client.core.monitoring import Monitor, RunMonitor


@pytest.fixture
def ctm(controlm):
    """Return what runs a test with BMC's client, in a thread beside the stand-in."""

    def run(test):
        async def scenario(c):
            def logged_in():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # it never verifies certificates
                    client = OnPremAAPIClient(
                        c.endpoint["url"], SimpleCredentials(c.stand_in.user, c.stand_in.password)
                    )
                    client.authenticate()
                    try:
                        test(SimpleNamespace(client=client, run=client.run_api, stand_in=c.stand_in))
                    finally:
                        client.apiclient.rest_client.pool_manager.clear()
                        client.apiclient.close()

            await asyncio.to_thread(logged_in)
            await asyncio.sleep(0.2)  # its sockets end without TLS's goodbye: let the server see that before it stops

        return controlm(scenario)

    return run


def ordered(t, **more):
    result = t.run.order_jobs_in_folder(data=OrderFolderParameters(ctm="lab", ignore_criteria=True, **more))
    return RunMonitor(result.run_id, t.client), result


def until(monitor, name, status):
    deadline = time.monotonic() + 20
    while (found := monitor.get_status(name)).status != status:
        assert time.monotonic() < deadline, found.status
        time.sleep(0.05)
    return found


def test_order_a_folder_and_follow_it_to_its_end(ctm):
    def test(t):
        monitor, result = ordered(t, folder="ORDERS", variables=[{"ORDER": "4711"}, {"CLASS": "A"}])
        assert result.status_uri.endswith(result.run_id)
        until(monitor, "ORDERS", "Ended OK")
        assert {entry.name: entry.status for entry in monitor.get_statuses()} == dict.fromkeys(
            ("ORDERS", "CHECK", "BOOK"), "Ended OK"
        )
        assert monitor.get_output("ORDERS/CHECK") == "ORDER 4711 CHECKED\n"
        assert "ENDED AT" in monitor.get_log("BOOK")
        assert monitor.get_output("ORDERS") is None, "its own handling of the error text of an absent output"

    ctm(test)


def test_a_held_job_is_released_killed_rerun_and_set_to_ok(ctm):
    def test(t):
        monitor, _ = ordered(
            t,
            folder="LAB",
            jobs="LABJOB",
            order_into_folder="Standalone",
            hold=True,
            variables=[{"SLEEP": "60"}, {"ORCH_KEY": "K1"}],
        )
        job_id = monitor.get_jobid("LABJOB")
        assert monitor.get_status("LABJOB").held
        assert t.run.get_waiting_info(job_id) == [f"Job {job_id} is held"]
        assert "'K1'" in str(t.run.get_active_job(job_id))
        monitor.release_job("LABJOB")
        until(monitor, "LABJOB", "Executing")
        with pytest.raises(ApiException, match="is not held"):
            t.run.free_job(job_id)
        monitor.kill_job("LABJOB")
        until(monitor, "LABJOB", "Ended Not OK")
        monitor.set_to_ok("LABJOB")
        until(monitor, "LABJOB", "Ended OK")
        assert t.run.rerun_job(job_id).job_id == job_id
        until(monitor, "LABJOB", "Executing")

    ctm(test)


def test_hold_and_delete(ctm):
    def test(t):
        monitor, _ = ordered(t, folder="LAB", jobs="LABJOB", order_into_folder="Standalone", hold=True)
        monitor.delete_job("LABJOB")
        assert monitor.get_status("LABJOB").deleted

    ctm(test)


def test_the_filters_of_the_list(ctm):
    def test(t):
        ordered(t, folder="LAB", jobs="LABJOB", hold=True)
        ordered(t, folder="ORDERS", hold=True)
        listed = Monitor(t.client).get_statuses(filter={"jobname": "LAB*", "held": True, "limit": 1})
        assert (len(listed.statuses), listed.total, listed.returned) == (1, 2, 1)
        names = {entry.name for entry in Monitor(t.client).get_statuses(filter={"folder": "ORD*"}).statuses}
        assert names == {"ORDERS", "CHECK", "BOOK"}

    ctm(test)


def test_errors_come_in_the_documents_that_it_reads(ctm):
    def test(t):
        with pytest.raises(ApiException, match="was not found") as error:
            t.run.get_job_status("lab:zzzzz")
        assert error.value.status == 404
        t.client.credentials = SimpleCredentials(t.stand_in.user, "wrong")
        with pytest.raises(ApiException, match="Incorrect username or password"):
            t.client.authenticate()

    ctm(test)
