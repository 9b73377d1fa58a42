"""The whole loop on trial: people whose tastes are known, or who really lived, use the running service for days.

Every simulated day people ask the service over HTTP and act on what it shows; every night the Prefect flows of the
project look, decide, retrain and deploy. The same days are lived under several *regimes* (`regimes.REGIMES`), each in a
project, with a store, a service and a Prefect server of its own:

| file             | holds                                                                        |
| ---------------- | ---------------------------------------------------------------------------- |
| `crowd.py`       | what a crowd is: who asks when, what they do with a slate, what it is worth  |
| `tastes.py`      | a crowd whose tastes are known, from the synthetic world                     |
| `replay.py`      | a crowd that really lived: recorded events, in time order                    |
| `site.py`        | the running service                                                          |
| `nights.py`      | the flows                                                                    |
| `hindsight.py`   | models retrained by somebody who knows when tastes have moved                |
| `project.py`     | the project of one regime                                                    |
| `days.py`        | living through the days                                                      |
| `report.py`      | what came of it, in figures and plots                                        |
"""
