import { ActionIcon, Menu } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { IconArrowBackUp, IconBan, IconDotsVertical, IconEraser } from "@tabler/icons-react";
import { useState } from "react";
import { revocationsQuery } from "@/api/revocations";
import { useAdmin } from "@/features/session/useAdmin";
import { EraseModal } from "./EraseModal";
import { ReinstateModal, RevokeModal } from "./RevokeModal";

/** What an admin may do to an artifact for good: revoke it, take that back, erase it. Others do not see it. */
export function ArtifactMenu({ project, digest, name }: { project: string; digest: string; name: string }) {
  const admin = useAdmin();
  const revocations = useQuery({ ...revocationsQuery(project, digest), enabled: admin && digest !== "" });
  const [act, setAct] = useState<"revoke" | "reinstate" | "erase" | null>(null);
  if (!admin || digest === "") return null;
  const standing = revocations.data?.find((each) => each.stands);
  const close = (): void => setAct(null);
  return (
    <>
      <Menu position="bottom-end">
        <Menu.Target>
          <ActionIcon variant="default" size="md" aria-label={`Revoke or erase ${name}`}>
            <IconDotsVertical size={15} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {standing === undefined ? (
            <Menu.Item leftSection={<IconBan size={14} />} onClick={() => setAct("revoke")}>
              Revoke…
            </Menu.Item>
          ) : (
            <Menu.Item leftSection={<IconArrowBackUp size={14} />} onClick={() => setAct("reinstate")}>
              Reinstate…
            </Menu.Item>
          )}
          <Menu.Item color="red" leftSection={<IconEraser size={14} />} onClick={() => setAct("erase")}>
            Erase…
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {act === "revoke" && <RevokeModal project={project} digest={digest} name={name} close={close} />}
      {act === "reinstate" && standing && <ReinstateModal project={project} digest={digest} name={name} standing={standing} close={close} />}
      {act === "erase" && <EraseModal project={project} digest={digest} name={name} close={close} />}
    </>
  );
}
